"""One silent trap at a time, put into a valid config."""

import ast
import copy
import re
from pathlib import Path

import mmdet.engine  # noqa: F401 (registers hooks)
import pytest
from mmdet.models import ATSSHead, FCOSHead, RetinaHead
from mmdet.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
)
from mmengine import registry
from mmengine.hub import get_config

from mmdet_retina_plus import doctor
from mmdet_retina_plus.common.config_tree import part
from mmdet_retina_plus.doctor.loader_settings import (
    check_last_batch,
    check_single_images,
)
from mmdet_retina_plus.doctor.loss_settings import (
    check_box_losses,
    check_class_weights,
    check_focal,
    check_pixel_losses,
    check_point_losses,
    check_start,
)
from mmdet_retina_plus.doctor.paramwise_settings import check_odd_multipliers
from mmdet_retina_plus.doctor.pipeline_settings import (
    check_albu,
    check_colours,
    check_order,
    check_ratios,
)
from mmdet_retina_plus.doctor.result_settings import (
    check_cut_results,
    check_metric,
)
from mmdet_retina_plus.doctor.settings import CHECKS

STOCK = {
    'model': {
        'bbox_head': {
            'type': 'RetinaHead',
            'loss_cls': {'type': 'FocalLoss', 'use_sigmoid': True},
            'loss_bbox': {'type': 'L1Loss'},
        },
        'train_cfg': {
            'assigner': {
                'type': 'MaxIoUAssigner',
                'pos_iou_thr': 0.5,
                'neg_iou_thr': 0.4,
                'min_pos_iou': 1e-3,
            },
            'sampler': {'type': 'PseudoSampler'},
        },
        'test_cfg': {'max_per_img': 100},
    },
    'train_dataloader': {'batch_size': 2},
    'test_dataloader': {
        'dataset': {
            'type': 'RepeatDataset',
            'dataset': {
                'pipeline': [{'type': 'Resize'}, {'type': 'PackDetInputs'}]
            },
        }
    },
    'val_dataloader': None,
    'val_evaluator': {'metric': 'bbox'},
    'auto_scale_lr': {'enable': False, 'base_batch_size': 2},
}


def changed(changes):
    """The valid config with values set at dotted keys."""
    cfg = copy.deepcopy(STOCK)
    for path, value in changes.items():
        *parents, last = path.split('.')
        parent = part(cfg, '.'.join(parents)) if parents else cfg
        parent[last] = value
    return cfg


def findings(changes):
    return [finding for check in CHECKS for finding in check(changed(changes))]


def with_steps(*steps, name='train'):
    return {f'{name}_dataloader': {'dataset': {'pipeline': list(steps)}}}


MASKS = {'type': 'MaskRoIHead', 'mask_head': {'type': 'FCNMaskHead'}}
ASSIGNER = 'model.train_cfg.assigner'
SAMPLER = 'model.train_cfg.sampler'
HEAD = 'model.bbox_head'
NINE_ANCHORS = {'ratios': [0.5, 1.0, 2.0], 'scales_per_octave': 3}
ONE_ANCHOR = {'ratios': [1.0], 'scales': [8]}
LOAD_MASKS = {'type': 'LoadAnnotations', 'with_mask': True}
FIXED = {'neck': {'lr_mult': 0.0}}
PAINT = [{'type': 'PaintInstances'}, {'type': 'PackDetInputs'}]
SEMANTIC = {
    'model.semantic_head': {'type': 'UNetSemanticHead'},
    'model.data_preprocessor': {'pad_seg': True},
}
IOUS = {'type': 'MaxIoUAssigner', 'pos_iou_thr': 0.7, 'neg_iou_thr': 0.3}
APART = {'num': 256, 'add_gt_as_proposals': False}
RANDOM = {'type': 'RandomSampler', 'num': 256}
YOLOX = {'type': 'YOLOXHead', 'num_classes': 2, 'in_channels': 8}
FOCAL = {'type': 'FocalLoss', 'use_sigmoid': True}
EITHER_FLIP = {
    'type': 'RandomFlip',
    'prob': [0.5, 0.5],
    'direction': ['horizontal', 'vertical'],
}
TRAPS = {
    'a mean that the head divides again': (
        {HEAD: {**YOLOX, 'loss_obj': FOCAL}},
        ('error', 'loss_obj', f"{HEAD}.loss_obj.reduction='sum'"),
    ),
    'epochs that are cut short': (
        {'train_dataloader.num_batch_per_epoch': 5},
        (
            'warning',
            'train_dataloader',
            'train_dataloader.num_batch_per_epoch=None',
        ),
    ),
    'flips that leave no image': (
        {'train_dataloader.dataset': {'pipeline': [EITHER_FLIP]}},
        ('warning', 'train_dataloader.dataset.pipeline', '[0.25, 0.25]'),
    ),
    'objects among the anchors of an RPN': (
        {'model.train_cfg.rpn': {'sampler': RANDOM}},
        ('error', 'sampler', 'rpn.sampler.add_gt_as_proposals=False'),
    ),
    'stages in reverse order': (
        {
            'model.train_cfg.rcnn': [
                {'assigner': {'pos_iou_thr': x, 'neg_iou_thr': x}}
                for x in (0.7, 0.6, 0.5)
            ]
        },
        ('warning', 'assigner', 'rcnn.0.assigner.pos_iou_thr=0.5'),
    ),
    'a background that starts above 0': (
        {f'{ASSIGNER}.neg_iou_thr': (0.1, 0.4)},
        ('warning', 'assigner', f'{ASSIGNER}.neg_iou_thr=0.4'),
    ),
    'costs that read a softmax': (
        {f'{ASSIGNER}.match_costs': [{'type': 'ClassificationCost'}]},
        ('warning', 'assigner', "0=dict(type='FocalLossCost', weight=1)"),
    ),
    'boxes of one level': (
        {
            'model.neck': {'num_outs': 5},
            'model.roi_head': {'bbox_roi_extractor': {'featmap_strides': [4]}},
        },
        ('warning', 'bbox_roi_extractor', 'featmap_strides=[4,8,16,32]'),
    ),
    'a sigmoid that is read by a softmax': (
        {
            'model.roi_head': {
                'bbox_head': {
                    'type': 'Shared2FCBBoxHead',
                    'loss_cls': {
                        'type': 'CrossEntropyLoss',
                        'use_sigmoid': True,
                    },
                }
            }
        },
        ('warning', 'bbox_head.loss_cls', 'use_sigmoid=False'),
    ),
    'a loss of another shape that is read by a softmax': (
        {
            'model.roi_head': {
                'bbox_head': [
                    {
                        'type': 'Shared2FCBBoxHead',
                        'loss_cls': {'type': 'mmdet.QualityFocalLoss'},
                    }
                ]
            }
        },
        ('error', 'bbox_head.loss_cls', 'bbox_head.0.loss_cls=dict(_delete_'),
    ),
    'masks that are never scored': (
        {
            'model.roi_head': MASKS,
            'val_evaluator.type': 'CocoMetric',
            'train_dataloader.dataset': {'pipeline': [LOAD_MASKS]},
        },
        ('warning', 'val_evaluator', "metric=['bbox','segm']"),
    ),
    'masks that no evaluator of a list scores': (
        {
            'model.roi_head': MASKS,
            'val_evaluator': [{'type': 'CocoMetric', 'metric': 'bbox'}],
            'train_dataloader.dataset': {'pipeline': [LOAD_MASKS]},
        },
        ('warning', 'val_evaluator', "evaluator.0.metric=['bbox','segm']"),
    ),
    'a rate of AdamW': (
        {
            'model.type': 'RetinaNet',
            'optim_wrapper': {
                'optimizer': {'type': 'SGD', 'lr': 1e-4, 'momentum': 0.9}
            },
        },
        ('warning', 'optim_wrapper.optimizer', 'lr=0.00125'),
    ),
    "DETR's clipping": (
        {
            'optim_wrapper': {
                'optimizer': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9},
                'clip_grad': {'max_norm': 0.1},
            }
        },
        ('warning', 'optim_wrapper.clip_grad', 'max_norm=35'),
    ),
    'a mosaic of another size': (
        {
            'train_dataloader.dataset': {
                'pipeline': [
                    {'type': 'Mosaic', 'img_scale': (1280, 1280)},
                    {'type': 'RandomAffine', 'border': (-320, -320)},
                ]
            }
        },
        (
            'warning',
            'train_dataloader.dataset.pipeline[1]',
            'border=(-640, -640)',
        ),
    ),
    'batches that scale no masks': (
        {
            'model.roi_head': MASKS,
            'model.data_preprocessor': {
                'batch_augments': [{'type': 'BatchSyncRandomResize'}]
            },
        },
        (
            'error',
            'model.data_preprocessor.batch_augments.0',
            'batch_augments=None',
        ),
    ),
    'batches that scale no masks of RTMDet-Ins': (
        {
            f'{HEAD}.type': 'RTMDetInsSepBNHead',
            f'{HEAD}.loss_bbox.type': 'GIoULoss',
            'model.data_preprocessor': {
                'batch_augments': [{'type': 'mmdet.BatchSyncRandomResize'}]
            },
        },
        (
            'error',
            'model.data_preprocessor.batch_augments.0',
            'batch_augments=None',
        ),
    ),
    'masks that are not cut off': (
        {'model.test_cfg': {'rcnn': {'mask_thr_binary': -1}}},
        ('error', 'model.test_cfg.rcnn', 'rcnn.mask_thr_binary=0.5'),
    ),
    'negative threshold as a list': (
        {f'{ASSIGNER}.neg_iou_thr': [0.1, 0.4]},
        ('error', 'assigner', f'{ASSIGNER}.neg_iou_thr=0.4'),
    ),
    'negative threshold as an int': (
        {f'{ASSIGNER}.neg_iou_thr': 0},
        ('error', 'assigner', '0.4'),
    ),
    'negative threshold of an RPN as a list': (
        {
            'model.train_cfg.rpn': {
                'assigner': {**IOUS, 'neg_iou_thr': [0, 0.3]}
            }
        },
        ('error', 'assigner', 'model.train_cfg.rpn.assigner.neg_iou_thr=0.3'),
    ),
    'negative threshold of a cascade as an int': (
        {
            'model.train_cfg.rcnn': [
                {'assigner': {**IOUS, 'pos_iou_thr': 0.6, 'neg_iou_thr': 0}}
            ]
        },
        ('error', 'assigner', 'train_cfg.rcnn.0.assigner.neg_iou_thr=0.6'),
    ),
    'few anchors for the focal loss of ATSS': (
        {
            SAMPLER: {'type': 'mmdet.RandomSampler', **APART},
            f'{HEAD}.type': 'ATSSHead',
            f'{HEAD}.loss_bbox.type': 'GIoULoss',
        },
        ('warning', 'sampler', 'PseudoSampler'),
    ),
    'few points for the focal loss of a default': (
        {
            SAMPLER: {'type': 'RandomSampler', **APART},
            HEAD: {'type': 'RepPointsHead'},
        },
        ('warning', 'sampler', 'PseudoSampler'),
    ),
    'no objects that count as much as objects': (
        {
            HEAD: {
                'type': 'DETRHead',
                'loss_cls': {'type': 'mmdet.CrossEntropyLoss'},
            }
        },
        (
            'warning',
            'bbox_head.loss_cls',
            f'{HEAD}.loss_cls.bg_cls_weight=0.1',
        ),
    ),
    'no objects that count as much as objects in MaskFormer': (
        {
            'model.panoptic_head': {
                'type': 'Mask2FormerHead',
                'loss_cls': {
                    'type': 'CrossEntropyLoss',
                    'class_weight': [1.0, 1.0, 1.0],
                },
            }
        },
        ('warning', 'panoptic_head.loss_cls', 'class_weight=[1.0, 1.0, 0.1]'),
    ),
    'a mosaic whose border comes later': (
        {
            'train_dataloader.dataset': {
                'pipeline': [
                    {'type': 'Mosaic'},
                    {'type': 'YOLOXHSVRandomAug'},
                    {'type': 'RandomAffine'},
                ]
            }
        },
        (
            'warning',
            'train_dataloader.dataset.pipeline[2]',
            'border=(-320, -320)',
        ),
    ),
    'a high threshold of a second stage': (
        {
            'model.train_cfg.rcnn': {
                'assigner': {'pos_iou_thr': 0.9, 'neg_iou_thr': 0.9}
            }
        },
        ('warning', 'assigner', 'rcnn.assigner.pos_iou_thr=0.5'),
    ),
    'percent of positives': (
        {'model.train_cfg.rcnn': {'sampler': {'pos_fraction': 25}}},
        (
            'warning',
            'model.train_cfg.rcnn.sampler',
            'sampler.pos_fraction=0.25',
        ),
    ),
    'errors that are squared': (
        {f'{HEAD}.loss_bbox': {'type': 'SmoothL1Loss', 'beta': 11.0}},
        ('warning', 'loss_bbox', 'loss_bbox.beta=0.11'),
    ),
    'few proposals': (
        {'model.train_cfg.rpn_proposal': {'max_per_img': 10}},
        ('warning', 'model.train_cfg.rpn_proposal', 'max_per_img=1000'),
    ),
    'a neck that never learns': (
        {'optim_wrapper': {'paramwise_cfg': {'custom_keys': FIXED}}},
        (
            'warning',
            'optim_wrapper.paramwise_cfg.custom_keys',
            'custom_keys.neck.lr_mult=1.0',
        ),
    ),
    'a soft NMS that drops': (
        {'model.test_cfg': {'nms': {'type': 'soft_nms', 'min_score': 0.5}}},
        ('warning', 'model.test_cfg.nms', 'nms.min_score=0.001'),
    ),
    'a loss beyond float16': (
        {'optim_wrapper': {'type': 'AmpOptimWrapper', 'loss_scale': 1e30}},
        ('error', 'optim_wrapper', "loss_scale='dynamic'"),
    ),
    'pixels from 0 to 1 for weights of others': (
        {
            'model.backbone': {
                'init_cfg': {'checkpoint': 'torchvision://resnet50'}
            },
            'model.data_preprocessor': {
                'type': 'DetDataPreprocessor',
                'mean': [0.0] * 3,
                'std': [255.0] * 3,
                'bgr_to_rgb': True,
            },
        },
        ('warning', 'data_preprocessor', 'std=[58.395'),
    ),
    'a filter of VOC': (
        {
            'train_dataloader.dataset': {
                'type': 'CocoDataset',
                'filter_cfg': {'bbox_min_size': 8},
            }
        },
        (
            'warning',
            'train_dataloader.dataset.filter_cfg',
            'filter_empty_gt=True',
        ),
    ),
    'training alone normalises': (
        {
            'model.data_preprocessor': {},
            'train_dataloader.dataset': {'pipeline': [{'type': 'Normalize'}]},
        },
        ('error', 'test_dataloader.dataset.pipeline', 'all pipelines'),
    ),
    'objects without overlap': (
        {
            f'{ASSIGNER}.min_pos_iou': 0,
            'train_dataloader.dataset': {'pipeline': [{'type': 'RandomCrop'}]},
        },
        ('warning', 'assigner', f'{ASSIGNER}.min_pos_iou=0.001'),
    ),
    'ATSS on RetinaHead': (
        {ASSIGNER: {'type': 'mmdet.ATSSAssigner', 'topk': 9}},
        ('error', 'assigner', 'StreamingATSSAssigner'),
    ),
    'grid assigner': (
        {ASSIGNER: {'type': 'GridAssigner'}},
        ('error', 'assigner', 'BestPriorAssigner'),
    ),
    'point assigner': (
        {ASSIGNER: {'type': 'PointAssigner'}},
        ('error', 'assigner', 'PointRangeAssigner'),
    ),
    'OHEM': (
        {SAMPLER: {'type': 'OHEMSampler'}},
        ('error', 'sampler', 'FocalLoss'),
    ),
    'ignore regions switched off': (
        {f'{ASSIGNER}.ignore_iof_thr': 0},
        ('warning', 'assigner', '-1 if intended'),
    ),
    'ignore regions without objects': (
        {f'{ASSIGNER}.ignore_iof_thr': 0.5},
        ('warning', 'assigner', 'StreamingMaxIoUAssigner'),
    ),
    'nine candidates at one place': (
        {
            ASSIGNER: {'type': 'StreamingATSSAssigner', 'topk': 9},
            f'{HEAD}.anchor_generator': NINE_ANCHORS,
        },
        ('warning', 'assigner', 'topk_per_location=True'),
    ),
    'random sampler': (
        {SAMPLER: {'type': 'RandomSampler', 'num': 256}},
        ('error', 'sampler', 'add_gt_as_proposals=False'),
    ),
    'divisor of the focal loss': (
        {SAMPLER: {'type': 'RandomSampler', 'add_gt_as_proposals': False}},
        ('warning', 'sampler', 'PseudoSampler'),
    ),
    'focal loss without sigmoid': (
        {f'{HEAD}.loss_cls': {'type': 'FusedFocalLoss'}},
        ('error', 'loss_cls', 'use_sigmoid=True'),
    ),
    'softmax without prior': (
        {f'{HEAD}.loss_cls': {'type': 'CrossEntropyLoss'}},
        ('warning', 'loss_cls', 'RetinaPlusHead'),
    ),
    'scale of the boxes': (
        {f'{HEAD}.loss_bbox': {'type': 'SelfAdjustingSmoothL1Loss'}},
        ('warning', 'loss_bbox', '[0.1, 0.1, 0.2, 0.2]'),
    ),
    'no Resize in the test pipeline': (
        {'test_dataloader.dataset.dataset.pipeline': [{'type': 'Pad'}]},
        ('error', 'pipeline', "type='Resize'"),
    ),
    'mask head without masks': (
        {
            'model.roi_head': MASKS,
            'train_dataloader.dataset': {
                'pipeline': [{'type': 'LoadAnnotations', 'with_bbox': True}]
            },
        },
        ('error', 'pipeline', 'with_mask=True'),
    ),
    'masks scored and not predicted': (
        {'val_evaluator.metric': ['bbox', 'segm']},
        ('error', 'val_evaluator', "metric='bbox'"),
    ),
    "mmdet's views of masks": (
        {'model.roi_head': MASKS, 'tta_model': {'type': 'DetTTAModel'}},
        ('error', 'tta_model', "type='MaskTTAModel'"),
    ),
    'masks scored and switched off': (
        {
            'model.roi_head': {**MASKS, 'test_cfg': {'with_mask': False}},
            'val_evaluator.metric': ['bbox', 'segm'],
        },
        ('error', 'val_evaluator', "metric='bbox'"),
    ),
    'a map of one class for many': (
        {
            **SEMANTIC,
            'model.semantic_head': {
                'type': 'UNetSemanticHead',
                'class_specific': True,
            },
            'train_dataloader.dataset': {
                'pipeline': [
                    LOAD_MASKS,
                    {'type': 'PaintInstances', 'class_specific': False},
                ]
            },
        },
        ('error', 'pipeline', 'without class_specific=False'),
    ),
    'a map padded with background': (
        {
            **SEMANTIC,
            'model.data_preprocessor': {'pad_seg': True, 'seg_pad_value': 0},
            'train_dataloader.dataset': {'pipeline': [LOAD_MASKS, *PAINT]},
        },
        ('error', 'data_preprocessor', 'seg_pad_value=255'),
    ),
    'masks that are left behind': (
        {
            **SEMANTIC,
            'train_dataloader.dataset': {
                'pipeline': [LOAD_MASKS, {'type': 'RandomShift'}, *PAINT]
            },
        },
        ('error', 'pipeline', 'the pipeline without RandomShift'),
    ),
    'a map that takes the masks of a mask head': (
        {
            'model.roi_head': MASKS,
            'train_dataloader.dataset': {
                'pipeline': [
                    LOAD_MASKS,
                    {'type': 'PaintInstances', 'keep_masks': False},
                ]
            },
            'val_evaluator.metric': ['bbox', 'segm'],
        },
        ('error', 'pipeline', 'without keep_masks=False'),
    ),
    'a mosaic around a set with masks': (
        {
            'train_dataloader.dataset': {
                'dataset': {'pipeline': [LOAD_MASKS]},
                'pipeline': [{'type': 'mmdet.Mosaic'}],
            },
        },
        ('error', 'pipeline', 'CachedMosaic in place of Mosaic'),
    ),
    'masks of the whole image without padding': (
        {
            'model.mask_head': {'type': 'CondInstMaskHead'},
            'train_dataloader.dataset': {'pipeline': [LOAD_MASKS]},
        },
        ('warning', 'data_preprocessor', 'pad_mask=True'),
    ),
    'a map without padding': (
        {
            **SEMANTIC,
            'model.data_preprocessor': {'pad_mask': True},
            'train_dataloader.dataset': {'pipeline': [LOAD_MASKS, *PAINT]},
        },
        ('error', 'data_preprocessor', 'pad_seg=True'),
    ),
}


@pytest.mark.parametrize('trap', TRAPS)
def test_a_trap_is_found_with_its_fix(trap):
    changes, (level, subject, fix) = TRAPS[trap]
    (finding,) = findings(changes)
    assert (finding.level, finding.subject) == (level, subject)
    assert fix in finding.fix


FINE = {
    'a background from 0 on': {f'{ASSIGNER}.neg_iou_thr': (0.0, 0.4)},
    'costs that read a sigmoid': {
        f'{ASSIGNER}.match_costs': [{'type': 'FocalLossCost'}]
    },
    'costs for the default of a focal loss': {
        HEAD: {
            'type': 'DeformableDETRHead',
            'loss_cls': {'type': 'FocalLoss'},
        },
        f'{ASSIGNER}.match_costs': [{'type': 'FocalLossCost'}],
    },
    'a rate of a fine-tuned detector': {
        'model.type': 'RetinaNet',
        'load_from': 'https://x.pth',
        'optim_wrapper': {
            'optimizer': {'type': 'SGD', 'lr': 1e-4, 'momentum': 0.9}
        },
    },
    "another package's metric": {
        'model.roi_head': MASKS,
        'val_evaluator': [{'type': 'CocoMetric'}, {'type': 'MaskMetric'}],
        'train_dataloader.dataset': {'pipeline': [LOAD_MASKS]},
    },
    'a mosaic of its own size': {
        'train_dataloader.dataset': {
            'pipeline': [
                {'type': 'Mosaic', 'img_scale': (1280, 1280)},
                {'type': 'RandomAffine', 'border': (-640, -640)},
            ]
        }
    },
    'as it is': {},
    'no objects that count less than objects': {
        HEAD: {
            'type': 'DETRHead',
            'loss_cls': {
                'type': 'CrossEntropyLoss',
                'bg_cls_weight': 0.1,
                'class_weight': 1.0,
            },
        }
    },
    'a mosaic that is cropped': {
        'train_dataloader.dataset': {
            'pipeline': [
                {'type': 'CachedMosaic'},
                {'type': 'RandomCrop'},
                {'type': 'RandomAffine'},
            ]
        },
        f'{ASSIGNER}.type': 'StreamingMaxIoUAssigner',
    },
    'a mosaic that is cropped at the end': {
        'train_dataloader.dataset': {
            'pipeline': [
                {'type': 'Mosaic'},
                {'type': 'RandomAffine'},
                {'type': 'RandomCrop', 'crop_size': (640, 640)},
            ]
        },
        f'{ASSIGNER}.type': 'StreamingMaxIoUAssigner',
    },
    'a sampler that the head does not use': {
        SAMPLER: {'type': 'RandomSampler'},
        HEAD: {'type': 'FCOSHead', 'loss_cls': FOCAL},
    },
    'our assigner takes a list': {
        ASSIGNER: {
            'type': 'StreamingMaxIoUAssigner',
            'neg_iou_thr': [0.1, 0.4],
            'min_pos_iou': 0,
        }
    },
    'one claim per object': {
        f'{ASSIGNER}.min_pos_iou': 0,
        f'{ASSIGNER}.gt_max_assign_all': False,
    },
    'no low quality match': {
        f'{ASSIGNER}.min_pos_iou': 0,
        f'{ASSIGNER}.match_low_quality': False,
    },
    'ATSS on its own head': {
        f'{HEAD}.type': 'ATSSHead',
        f'{HEAD}.loss_bbox.type': 'GIoULoss',
        ASSIGNER: {'type': 'ATSSAssigner'},
    },
    'ATSS under a head of ours': {
        f'{HEAD}.type': 'RetinaPlusHead',
        ASSIGNER: {'type': 'ATSSAssigner'},
    },
    'sampler without focal loss': {
        SAMPLER: {'type': 'RandomSampler', 'add_gt_as_proposals': False},
        f'{HEAD}.loss_cls': {'type': 'CrossEntropyLoss', 'use_sigmoid': True},
    },
    'softmax with prior': {
        f'{HEAD}.type': 'RetinaPlusHead',
        f'{HEAD}.loss_cls': {'type': 'CrossEntropyLoss'},
    },
    'scaled boxes': {
        f'{HEAD}.loss_bbox': {'type': 'SelfAdjustingSmoothL1Loss'},
        f'{HEAD}.bbox_coder': {'target_stds': [0.1, 0.1, 0.2, 0.2]},
    },
    'a sampler with cross entropy': {
        SAMPLER: {'type': 'RandomSampler', 'add_gt_as_proposals': False},
        f'{HEAD}.loss_cls.gamma': 0.0,
    },
    'our assigner ignores regions everywhere': {
        ASSIGNER: {'type': 'StreamingMaxIoUAssigner', 'ignore_iof_thr': 0.5}
    },
    'candidates at nine places': {
        ASSIGNER: {'type': 'StreamingATSSAssigner', 'topk_per_location': True},
        f'{HEAD}.anchor_generator': NINE_ANCHORS,
    },
    'one anchor per location': {
        ASSIGNER: {'type': 'StreamingATSSAssigner', 'topk': 9},
        f'{HEAD}.anchor_generator': ONE_ANCHOR,
    },
    'masks loaded, predicted and scored': {
        'model.roi_head': MASKS,
        'train_dataloader.dataset': {
            'pipeline': [{'type': 'LoadAnnotations', 'with_mask': True}]
        },
        'val_evaluator.metric': ['bbox', 'segm'],
    },
    'pixel supervision': {
        **SEMANTIC,
        'train_dataloader.dataset': {'pipeline': [LOAD_MASKS, *PAINT]},
    },
    'a mosaic of boxes beside masks': {
        'train_dataloader.dataset': {
            'datasets': [
                {'pipeline': [LOAD_MASKS]},
                {'pipeline': [{'type': 'Mosaic'}]},
            ]
        }
    },
    "another library's mosaic": {
        'train_dataloader.dataset': {
            'pipeline': [LOAD_MASKS, {'type': 'mmyolo.Mosaic'}]
        }
    },
    "another detector's semantic head": {
        'model.semantic_head': {'type': 'PanopticFPNHead'}
    },
    'views of boxes': {'tta_model': {'type': 'DetTTAModel'}},
    'views of boxes of a mask model': {
        'model.roi_head': {**MASKS, 'test_cfg': {'with_mask': False}},
        'tta_model': {'type': 'DetTTAModel'},
    },
    'views of RTMDet-Ins, as in its recipe': {
        f'{HEAD}.type': 'RTMDetInsHead',
        f'{HEAD}.loss_bbox.type': 'GIoULoss',
        'tta_model': {'type': 'DetTTAModel'},
    },
    'views of masks': {
        'model.roi_head': MASKS,
        'tta_model': {'type': 'MaskTTAModel'},
    },
    'another head without sigmoid or Resize': {
        f'{HEAD}.type': 'CenterNetHead',
        f'{HEAD}.loss_cls': {'type': 'GaussianFocalLoss'},
        'test_dataloader.dataset.dataset.pipeline': [{'type': 'Pad'}],
    },
    'another detector': {'model': {'rpn_head': {}, 'roi_head': {}}},
}


ODD = {
    'a mosaic of one side': with_steps(
        {'type': 'Mosaic', 'img_scale': 640}, {'type': 'RandomAffine'}
    ),
    'no border': with_steps(
        {'type': 'Mosaic'}, {'type': 'RandomAffine', 'border': None}
    ),
    'a text as a weight': {
        'model': {
            'panoptic_head': {
                'type': 'Mask2FormerHead',
                'loss_cls': {
                    'type': 'CrossEntropyLoss',
                    'class_weight': ['a', 1],
                },
            }
        }
    },
    'no lowest IoU': {
        'model': {
            'train_cfg': {
                'assigner': {
                    'type': 'MaxIoUAssigner',
                    'neg_iou_thr': 0.4,
                    'min_pos_iou': None,
                }
            }
        }
    },
}


@pytest.mark.parametrize('case', ODD)
def test_values_of_other_types_are_left_to_others(case):
    assert [x for check in CHECKS for x in check(ODD[case])] == []


@pytest.mark.parametrize('case', FINE)
def test_what_is_right_raises_no_alarm(case):
    assert findings(FINE[case]) == []


REGISTRIES = (DATASETS, HOOKS, METRICS, MODELS, TASK_UTILS, TRANSFORMS)


def test_ways_out_name_what_is_registered():
    texts = [
        finding.fix
        for changes, _ in TRAPS.values()
        for finding in findings(changes)
    ]
    for path in Path(doctor.__file__).parent.glob('*.py'):
        tree = ast.parse(path.read_text())
        texts += [
            named
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for named in re.findall(r"type='\w+'", node.value)
        ]
    roots = [x for x in vars(registry).values() if hasattr(x, '_module_dict')]
    known = {name for x in (*REGISTRIES, *roots) for name in x.module_dict}
    # Registered names have several words: L1Loss, CocoDataset.
    named = set(re.findall(r'[A-Z]\w*[a-z]\w*[A-Z]\w+', ' '.join(texts)))
    assert named >= {'StreamingMaxIoUAssigner', 'PseudoSampler', 'FocalLoss'}
    assert named <= known


@pytest.mark.parametrize(
    'name',
    [
        'centernet/centernet_r18_8xb16-crop512-140e_coco',
        'detr/detr_r50_8xb2-150e_coco',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
        'fsaf/fsaf_r50_fpn_1x_coco',
        'pisa/retinanet-r50_fpn_pisa_1x_coco',
        'retinanet/retinanet_r50_fpn_1x_coco',
        'ssd/ssd300_coco',
        'yolox/yolox_s_8xb8-300e_coco',
    ],
)
def test_stock_configs_raise_no_false_alarm(name):
    cfg = get_config(f'mmdet::{name}.py').to_dict()
    found = [finding for check in CHECKS for finding in check(cfg)]
    assert [x for x in found if x.level == 'error'] == []


MEANT = {
    'fsaf/fsaf_r50_fpn_1x_coco': 'reduction=',
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco': 'score_thr=',
    'masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_'
    'youtubevis2019': 'first validation',
}


@pytest.mark.parametrize('name', MEANT)
def test_what_stock_configs_mean_raises_no_alarm(name):
    cfg = get_config(f'mmdet::{name}.py').to_dict()
    found = [finding for check in CHECKS for finding in check(cfg)]
    assert [x for x in found if MEANT[name] in x.message] == []


SUPPRESSION = {
    'copies': ({'nms': {'iou_threshold': 1.0}}, 'keeps duplicates', 'nms.iou'),
    'neighbours': ({'nms': {'iou_threshold': 0.01}}, 'neighbours', 'nms.iou'),
    'few boxes': ({'max_per_img': 1}, 'AP is too low', 'max_per_img=100'),
    'few candidates': ({'nms_pre': 2}, 'AP is too low', 'nms_pre=1000'),
    'large boxes': ({'min_bbox_size': 64}, 'small objects', 'size=0'),
}


@pytest.mark.parametrize('name', SUPPRESSION)
def test_results_that_are_cut(name):
    changed, message, fix = SUPPRESSION[name]
    (finding,) = check_cut_results({'model': {'test_cfg': changed}})
    assert message in finding.message
    assert finding.fix.startswith('model.test_cfg.')
    assert fix in finding.fix


def test_boxes_of_atss_are_always_decoded():
    head = {'type': 'ATSSHead', 'loss_bbox': {'type': 'mmdet.SmoothL1Loss'}}
    cfg = {'model': {'bbox_head': head}}
    (finding,) = check_pixel_losses(cfg)
    assert finding.fix.startswith('model.bbox_head.loss_bbox=dict(')
    head['loss_bbox']['type'] = 'GIoULoss'
    assert check_pixel_losses(cfg) == check_box_losses(cfg) == []
    head['reg_decoded_bbox'] = False
    (finding,) = check_box_losses(cfg)
    assert 'targets that are deltas' in finding.message
    assert finding.fix == 'model.bbox_head.reg_decoded_bbox=True'


def test_a_head_of_others_may_encode_boxes(monkeypatch):
    class Own(RetinaHead):
        def __init__(self, *args, reg_decoded_bbox=True, **kwargs):
            super().__init__(*args, reg_decoded_bbox=reg_decoded_bbox)

    class OwnLoss(ATSSHead):
        def loss_by_feat_single(self, *args):
            return super().loss_by_feat_single(*args)

    for built in (Own, OwnLoss):
        monkeypatch.setitem(MODELS.module_dict, built.__name__, built)
        head = {'type': built.__name__, 'reg_decoded_bbox': False}
        head['loss_bbox'] = {'type': 'L1Loss'}
        assert check_box_losses({'model': {'bbox_head': head}}) == []


def test_fcos_decodes_boxes(monkeypatch):
    class Own(FCOSHead):
        def loss_by_feat(self, *args):
            return super().loss_by_feat(*args)

    monkeypatch.setitem(MODELS.module_dict, 'Own', Own)
    head = {'type': 'FCOSHead', 'loss_bbox': {'type': 'SmoothL1Loss'}}
    cfg = {'model': {'bbox_head': head}}
    (finding,) = check_point_losses(cfg)
    assert 'FCOSHead decodes boxes, so its loss must' in finding.message
    assert "type='IoULoss'" in finding.fix
    head['type'] = 'Own'
    assert check_point_losses(cfg) == []
    head['type'], head['loss_bbox'] = 'FCOSHead', {'type': 'GIoULoss'}
    assert check_point_losses(cfg) == []


def test_distances_in_pixels():
    head = {'reg_decoded_bbox': True, 'loss_bbox': {'type': 'SmoothL1Loss'}}
    cfg = {'model': {'bbox_head': head}}
    assert 'boxes in pixels' in check_pixel_losses(cfg)[0].message
    for weight, level in ((1.0, 'error'), (0.01, 'warning')):
        head['loss_bbox']['loss_weight'] = weight
        assert check_pixel_losses(cfg)[0].level == level
    head['loss_bbox']['type'] = 'GIoULoss'
    assert check_pixel_losses(cfg) == []


@pytest.mark.parametrize(
    ('init', 'message'),
    [
        ({'type': 'Normal', 'std': 1.0, 'bias_prob': 0.01}, 'start huge'),
        ({'type': 'Normal', 'std': 0.01}, 'a score of 0.5'),
        ({'type': 'Normal', 'std': 0.01, 'bias_prob': 0.99}, 'as objects'),
        ({'type': 'Normal', 'std': 0.01, 'bias_prob': 0.01}, ''),
    ],
)
def test_how_a_head_starts(init, message):
    head = {'type': 'RetinaHead', 'init_cfg': init}
    head['loss_cls'] = {'type': 'FocalLoss'}
    found = check_start({'model': {'bbox_head': head}})
    assert bool(found) == bool(message)
    assert message in ''.join(x.message for x in found)


def test_a_head_starts_with_the_prior_of_its_class():
    init = {'type': 'Normal', 'layer': 'Conv2d', 'std': 0.01}
    loss = {'type': 'QualityFocalLoss'}
    head = {'type': 'GFLHead', 'init_cfg': init, 'loss_cls': loss}
    (finding,) = check_start({'model': {'bbox_head': head}})
    assert "name='gfl_cls', std=0.01, bias_prob=0.01" in finding.fix
    # The head sets the prior in code.
    head['type'] = 'RTMDetHead'
    assert check_start({'model': {'bbox_head': head}}) == []


def test_the_weight_of_the_background_is_the_last():
    loss = {'type': 'CrossEntropyLoss', 'class_weight': [0.1, 1.0, 1.0]}
    head = {'num_classes': 2, 'loss_cls': loss}
    cfg = {'model': {'roi_head': {'bbox_head': head}}}
    (finding,) = check_class_weights(cfg)
    assert finding.fix.endswith('loss_cls.class_weight=[1.0, 1.0, 0.1]')
    loss['class_weight'] = [1.0, 1.0, 0.1]
    assert check_class_weights(cfg) == []


def test_recall_of_proposals_is_no_ap():
    metric = {'type': 'CocoMetric', 'metric': 'proposal'}
    cfg = {'val_evaluator': metric}
    cfg |= {'test_evaluator': [metric, {'type': 'CocoMetric'}]}
    (finding,) = check_metric(cfg)
    assert finding.fix == "val_evaluator.metric='bbox'"


def test_usual_results_are_not_cut():
    usual = {
        'nms_pre': 1000,
        'min_bbox_size': 0,
        'nms': {'type': 'nms', 'iou_threshold': 0.5},
        'max_per_img': 100,
    }
    assert check_cut_results({'model': {'test_cfg': usual}}) == []


LOSSES = {
    'a steep gamma': ({'gamma': 25.0}, 'next to no gradient'),
    'an alpha of one side': ({'alpha': 0.99}, 'weights objects, and 0.01'),
    'no mean': ({'reduction': 'none'}, 'number of priors'),
    'a heavy weight': ({'loss_weight': 1000}, 'dominates all other losses'),
}


@pytest.mark.parametrize('name', LOSSES)
def test_a_focal_loss_that_cannot_be_meant(name):
    changed, message = LOSSES[name]
    loss = {'type': 'FocalLoss', **changed}
    head = {'type': 'RetinaHead', 'loss_cls': loss}
    (finding,) = check_focal({'model': {'bbox_head': head}})
    assert message in finding.message


def test_batch_norms_of_one_image_and_batches_that_are_dropped():
    backbone = {
        'norm_cfg': {'type': 'BN'},
        'norm_eval': False,
    }
    cfg = {
        'model': {'backbone': backbone},
        'train_dataloader': {'batch_size': 1},
        'val_dataloader': {'batch_size': 4, 'drop_last': True},
    }
    (finding,) = check_single_images(cfg)
    assert 'the backbone use the statistics of one image' in finding.message
    backbone['norm_eval'] = True
    assert check_single_images(cfg) == []
    assert check_last_batch(cfg)[0].fix == 'val_dataloader.drop_last=False'
    cfg['val_dataloader']['drop_last'] = False
    assert check_last_batch(cfg) == []


@pytest.mark.parametrize(
    ('given', 'fix'),
    [
        ({'bbox_params': {'format': 'coco'}}, "format='pascal_voc'"),
        ({'keymap': {'img': 'image'}}, "'gt_bboxes': 'bboxes'"),
        ({'keymap': {'img': 'image'}, 'transforms': []}, ''),
        ({'bbox_params': {'format': 'pascal_voc'}}, ''),
    ],
)
def test_albumentations_gets_corners(given, fix):
    flips = [{'type': 'OneOf', 'transforms': [{'type': 'HorizontalFlip'}]}]
    found = check_albu(
        with_steps({'type': 'Albu', 'transforms': flips, **given})
    )
    assert len(found) == bool(fix)
    assert all(fix in x.fix for x in found)


def test_albumentations_gets_masks():
    keys = {'img': 'image', 'gt_bboxes': 'bboxes'}
    turn = {'type': 'ShiftScaleRotate', 'p': 0.5}
    albu = {'type': 'mmdet.Albu', 'keymap': keys, 'transforms': [turn]}
    (finding,) = check_albu(with_steps(LOAD_MASKS, albu))
    assert 'its masks are not' in finding.message
    assert "'gt_masks': 'masks'" in finding.fix
    assert check_albu(with_steps({'type': 'LoadAnnotations'}, albu)) == []
    turn['type'] = 'RandomBrightnessContrast'
    assert check_albu(with_steps(LOAD_MASKS, albu)) == []
    turn['type'] = 'Rotate'
    del albu['keymap']
    assert check_albu(with_steps(LOAD_MASKS, albu)) == []


def test_colours_change_before_they_are_normalised():
    steps = [{'type': 'Normalize'}, {'type': 'PhotoMetricDistortion'}]
    (finding,) = check_colours(with_steps(*steps))
    assert 'PhotoMetricDistortion before Normalize' in finding.fix
    assert check_colours(with_steps(*steps[::-1])) == []


def test_width_and_height_of_a_scale_are_exchanged():
    def resize(*scale):
        return {'type': 'Resize', 'scale': scale, 'keep_ratio': False}

    cfg = with_steps(resize(640, 480))
    cfg |= with_steps(resize(480, 640), name='val')
    (finding,) = check_ratios(cfg)
    assert 'scale=(640, 480)' in finding.fix
    assert check_ratios(cfg | with_steps(resize(480, 640))) == []


def test_a_backbone_without_weights_that_does_not_learn():
    keys = {'backbone': {'lr_mult': 0.0}}
    cfg = {'optim_wrapper': {'paramwise_cfg': {'custom_keys': keys}}}
    (finding,) = check_odd_multipliers(cfg)
    assert finding.fix.endswith('custom_keys.backbone.lr_mult=1.0')
    assert check_odd_multipliers(cfg | {'load_from': 'weights.pth'}) == []


def test_boxes_that_are_loaded_again_after_a_move():
    load, resize = {'type': 'LoadAnnotations'}, {'type': 'Resize'}
    (finding,) = check_order(with_steps(load, resize, load))
    assert finding.fix.endswith('only once')
    assert check_order(with_steps(load, resize)) == []
