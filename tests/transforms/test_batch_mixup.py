import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import MessageHub
from torch.testing import assert_close

from mmdet_retina_plus.transforms import BatchMixUp, batch_mixup
from tests.helpers.samples import OBJECTS, data_sample

IMAGES = [OBJECTS, OBJECTS[:1], ()]


@pytest.fixture(autouse=True)
def hub():
    hub = MessageHub.get_instance('mixup')
    hub.update_info_dict(dict(iter=0, max_iters=100))
    yield hub
    del MessageHub._instance_dict['mixup']


def samples():
    found = [data_sample(image) for image in IMAGES]
    for sample in found:
        del sample.gt_sem_seg
    return found


def mix(**options):
    """Images that are 1, 10 and 100 everywhere, and what becomes of them."""
    values = torch.tensor([1.0, 10, 100]).view(3, 1, 1, 1)
    inputs = values.expand(3, 3, 64, 64).clone()
    return inputs, *BatchMixUp(**options)(inputs, samples())


def shares(mixed: torch.Tensor) -> list[float]:
    """What each image of ``mix`` has of itself."""
    own = torch.tensor([1.0, 10, 100])
    other = own.roll(1)
    return ((mixed[:, 0, 0, 0] - other) / (own - other)).tolist()


@pytest.mark.parametrize('lambdas', [[0.6, 0.7, 0.8], [0.4, 0.3, 0.2]])
def test_it_has_the_objects_of_both_the_larger_weight_last(
    monkeypatch, lambdas
):
    monkeypatch.setattr(
        torch.distributions.Beta,
        'sample',
        lambda self, shape: torch.tensor(lambdas).expand(shape),
    )
    _, mixed, found = mix()
    assert shares(mixed) == pytest.approx(lambdas)
    truths = [sample.gt_instances for sample in found]
    assert [len(truth) for truth in truths] == [2, 3, 1]
    before = [sample.gt_instances for sample in samples()]
    bboxes = [before[1].bboxes, before[0].bboxes]
    weights = [lambdas[1], 1 - lambdas[1], 1 - lambdas[1]]
    if lambdas[1] > 0.5:
        bboxes.reverse()
        weights.reverse()
    assert_close(truths[1].bboxes, torch.cat(bboxes))
    assert truths[1].mix_weights.tolist() == pytest.approx(weights)
    assert truths[1].masks.masks.shape == (3, 64, 64)
    # The last image has no objects of its own.
    assert truths[2].mix_weights.tolist() == pytest.approx([1 - lambdas[2]])


def test_images_of_a_batch_and_processes_have_lambdas_of_their_own(
    monkeypatch,
):
    drawn = []
    for rank in range(2):
        monkeypatch.setattr(
            batch_mixup, 'get_dist_info', lambda rank=rank: (rank, 2)
        )
        # As mmengine seeds them.
        torch.manual_seed(0)
        drawn += shares(mix()[1])
    assert all(0 < share < 1 for share in drawn)
    assert len({round(share, 4) for share in drawn}) == 6


def test_lambda_has_the_variance_of_its_beta_distribution():
    module = BatchMixUp(alpha=1.5)
    drawn = module.beta.sample((4000,))
    assert_close(drawn.mean().item(), 0.5, rtol=0, atol=0.02)
    assert_close(drawn.var().item(), 1 / 16, rtol=0.06, atol=0)


def test_the_valid_part_covers_both_images():
    module, found = BatchMixUp(), samples()[:2]
    for sample, shape in zip(found, ((64, 32), (48, 64)), strict=True):
        sample.set_metainfo(dict(img_shape=shape, pad_shape=shape))
    _, mixed = module(torch.zeros(2, 3, 64, 64), found)
    for sample in mixed:
        assert sample.img_shape == sample.pad_shape == (64, 64)


@pytest.mark.parametrize('done', [90, 99])
def test_the_last_tenth_of_the_training_mixes_nothing(hub, done):
    hub.update_info('iter', done)
    inputs, mixed, found = mix()
    assert mixed is inputs
    assert all('mix_weights' not in sample.gt_instances for sample in found)


def test_an_image_alone_stays_as_it_is():
    inputs, sample = torch.randn(1, 3, 8, 8), samples()[:1]
    assert BatchMixUp()(inputs, sample)[0] is inputs


def test_the_preprocessor_runs_it_in_training_only():
    preprocessor = MODELS.build(
        dict(
            type='mmdet.DetDataPreprocessor',
            batch_augments=[dict(type='mmdet.BatchMixUp')],
        )
    )
    for training in (True, False):
        data = dict(inputs=[torch.ones(3, 64, 64)] * 3, data_samples=samples())
        result = preprocessor(data, training=training)
        truth = result['data_samples'][0].gt_instances
        assert ('mix_weights' in truth) == training


def test_segmentation_maps_are_refused():
    found = [data_sample(image) for image in IMAGES]
    with pytest.raises(ValueError, match='gt_sem_seg'):
        BatchMixUp()(torch.zeros(3, 3, 64, 64), found)


@pytest.mark.parametrize('options', [dict(alpha=0), dict(stop_at=30)])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match='alpha'):
        BatchMixUp(**options)
