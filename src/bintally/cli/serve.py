"""`bintally serve`: counting over HTTP."""

import os
from typing import Annotated

import typer

from bintally.cli.count import LevelOption, ModelOption
from bintally.cli.extras import extra


def serve(
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0: on every address of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any that is free.")] = 8080,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Photos counted at a time; by default one per core.", show_default=False)
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(min=1, help="Requests taken on at a time, 64 by default; more get 503.", show_default=False),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds until a request gets 504, 55 by default.", show_default=False),
    ] = None,
    level: LevelOption = 0.9,
) -> None:
    """Count photos over HTTP, as SageMaker asks for it: GET /ping, POST /invocations.

    A line of JSON for each request goes to standard output. SIGTERM ends it, exit code 0, once all requests in flight
    are answered. There is no sign-in: whoever can reach the port can ask. Further bounds are set by variables such as
    BINTALLY_SERVE_MAX_BODY_BYTES; docs/serving.md lists them.
    """
    with extra("serve", "bintally serve"):
        from bintally.serving.server import serve as serve_until_told
    from bintally.inference.find import find_model
    from bintally.serving.settings import ServeSettings

    given = {"threads": threads, "queue": queue, "deadline_seconds": deadline}
    settings = ServeSettings.from_environment(
        os.environ,
        model=find_model(model),
        level=level,
        **{name: value for name, value in given.items() if value is not None},
    )
    serve_until_told(
        settings, host=host, port=port, said=lambda sentence: typer.echo(f"bintally: {sentence}", err=True)
    )
