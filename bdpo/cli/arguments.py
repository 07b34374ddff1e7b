"""Arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigArgument = Annotated[Path, typer.Argument(help="A YAML config, such as configs/demo.yaml.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Another value for a field, such as train.beta=0.2; again for more."
    ),
]
ArtifactsOption = Annotated[Path, typer.Option(help="The folder of artifacts.")]
