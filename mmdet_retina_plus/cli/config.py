"""`retina-plus config`: print the path of a shipped config, or all names."""

import click


@click.command()
@click.argument('name', required=False)
def main(name: str | None) -> None:
    """Print the path of the shipped config NAME, for `mim train mmdet`.

    Without NAME, list the names of all configs and sweeps.
    """
    from mmdet_retina_plus import config, config_names

    if name is None:
        click.echo('\n'.join(config_names()))
        return
    try:
        click.echo(config(name))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
