"""`retina-plus config`: print the path of a shipped config."""

import click


@click.command()
@click.argument('name')
def main(name: str) -> None:
    """Print the path of the shipped config NAME, for `mim train mmdet`."""
    from mmdet_retina_plus import config

    try:
        click.echo(config(name))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
