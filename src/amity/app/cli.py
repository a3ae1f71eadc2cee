"""The command line: `amity`.

What a command needs of the server is imported when it is called: the others start without it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from amity.app.exchange_commands import exchange_commands
from amity.app.folder import DataFolder, write_json
from amity.app.local_client import LocalClient
from amity.app.logs import configure_logs
from amity.kernel.errors import AmityError

cli = typer.Typer(
    name="amity",
    help="Open, self-hosted real-time customer data platform with a campaign engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
failed_commands = typer.Typer(help="Refused records: list, show, replay.", no_args_is_help=False)
cli.add_typer(failed_commands, name="failed")
identity_commands = typer.Typer(help="The identity graph.")
cli.add_typer(identity_commands, name="identity")
cli.add_typer(exchange_commands, name="exchange")

Data = Annotated[Path, typer.Option("--data", help="The data folder.", envvar="AMITY_DATA")]
OUT = Console()
DEMO_DATA = Path(".amity/demo")
REFERENCE = Path("docs/reference")


@cli.command()
def init(
    data: Data,
    org: Annotated[str, typer.Option(help="Name of the organisation.")],
    admin: Annotated[str, typer.Option(help="E-mail address of the first administrator.")],
) -> None:
    """Create an organisation and print its credentials, once, as one JSON object."""
    from amity.app.init import create_organisation

    credentials = create_organisation(DataFolder(data), org, admin)
    sys.stdout.write(json.dumps(credentials) + "\n")


@cli.command("serve")
def serve_command(
    data: Data,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for all HTTP; 0 takes a free one.")] = 8080,
    public_url: Annotated[str, typer.Option(help="Base of every link and inlet URL.")] = "",
    clock: Annotated[str, typer.Option(help="Start a virtual business clock at this time.")] = "",
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate file (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key file (PEM).")] = None,
    allow_private_addresses: Annotated[
        bool, typer.Option(help="Let destinations lie at private addresses.")
    ] = False,
    smtp: Annotated[str, typer.Option(help="HOST:PORT that takes the messages.")] = "",
    sftp_port: Annotated[
        int | None, typer.Option(help="Port of Amity's own SFTP server; 0 takes a free one.")
    ] = None,
    bounce_port: Annotated[
        int | None, typer.Option(help="Port that takes bounces by SMTP; 0 takes a free one.")
    ] = None,
    bounce_domain: Annotated[
        str, typer.Option(help="Domain of the envelope senders, whose mail comes to --bounce-port.")
    ] = "bounces.example.test",
) -> None:
    """Run everything on one data folder; on an empty folder, create the organisation first."""
    from amity.app.init import create_organisation
    from amity.app.server import ServeOptions, serve

    folder = DataFolder(data)
    if not folder.initialised():
        credentials = create_organisation(folder, "Amity", "admin@example.test")
        write_json(folder.credentials, credentials)
        OUT.print(f"credentials: {folder.credentials}", soft_wrap=True, highlight=False)
    options = ServeOptions(
        host=host,
        port=port,
        public_url=public_url,
        clock=clock,
        tls_cert=tls_cert,
        tls_key=tls_key,
        allow_private=allow_private_addresses,
        smtp=smtp,
        sftp_port=sftp_port,
        bounce_port=bounce_port,
        bounce_domain=bounce_domain,
    )
    serve(folder, options)


@failed_commands.callback(invoke_without_command=True)
def failed_list(
    context: typer.Context,
    data: Data,
    batch: Annotated[str, typer.Option(help="Only of this batch.")] = "",
    dataset: Annotated[str, typer.Option(help="Only of this dataset.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List refused records with reason and place."""
    if context.invoked_subcommand is not None:
        context.obj = data
        return
    query = {"batch": batch, "dataset": dataset, "limit": limit}
    answer = LocalClient(data).call("GET", "/data/core/ingestion/failed", params=query)
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    table = Table("id", "received", "source", "where", "path", "code", "reason")
    for one in answer["items"]:
        table.add_row(*(_plain(one.get(key, "")) for key in
                        ("id", "received", "source", "where", "path", "code", "reason")))  # fmt: skip
    OUT.print(table)
    OUT.print(f"{len(answer['items'])} shown")


def _plain(value: object) -> Text:
    """Somebody else's words: no mark-up, and nothing that a terminal obeys."""
    shown = (letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value))
    return Text("".join(shown))


@failed_commands.command("show")
def failed_show(context: typer.Context, failed_id: str) -> None:
    """Print the raw bytes of a refused record."""
    sys.stdout.buffer.write(
        LocalClient(context.obj).download(f"/data/core/ingestion/failed/{failed_id}/raw")
    )


@failed_commands.command("replay")
def failed_replay(context: typer.Context, failed_id: str) -> None:
    """Send a refused record through its door again."""
    answer = LocalClient(context.obj).call(
        "POST", f"/data/core/ingestion/failed/{failed_id}/replay"
    )
    OUT.print_json(data=answer)


@cli.command()
def doctor(data: Data) -> None:
    """Check a live installation: roles, lag, failed records, clock."""
    client = LocalClient(data)
    health: dict[str, Any] = client.call("GET", "/healthz")
    for role, state in health["roles"].items():
        OUT.print(f"{role}: {state}")
    report = client.call("GET", "/admin/doctor")
    OUT.print_json(data=report)


@cli.command()
def clock(
    data: Data,
    advance: Annotated[str, typer.Option(help="Advance by an ISO 8601 duration: PT1H.")] = "",
    to: Annotated[str, typer.Option(help="Advance to a time: 2017-10-30T01:00:00Z.")] = "",
) -> None:
    """Show the business clock, or advance a virtual one."""
    body = {"advance": advance} if advance else {"to": to}
    method = "POST" if advance or to else "GET"
    options = {"json": body} if method == "POST" else {}
    OUT.print_json(data=LocalClient(data).call(method, "/admin/clock", **options))


@cli.command()
def demo(
    households: Annotated[
        int | None, typer.Option(help="Take the first so many; else all.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Leave the server running.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the run; emptied first.")] = DEMO_DATA,
) -> None:
    """Turn a real shop's customers into audiences and answered mails; check every hop."""
    from amity.app.demo.story import Options, run

    raise typer.Exit(run(Options(data=data, households=households, keep=keep), OUT))


@identity_commands.command("simulate")
def identity_simulate(
    file: Annotated[Path, typer.Argument(help="JSON: settings, and events as text.")],
    data: Data,
) -> None:
    """Show the graphs that events would give, storing nothing."""
    body = json.loads(file.read_text())
    OUT.print_json(data=LocalClient(data).call("POST", "/data/core/identity/simulate", json=body))


@cli.command()
def reference(
    out: Annotated[Path, typer.Option(help="Folder of the pages.")] = REFERENCE,
) -> None:
    """Write the reference pages anew from the code."""
    # The whole of the platform comes with it.
    from amity.app.reference import write_pages

    for path in write_pages(out, cli):
        OUT.print(str(path), soft_wrap=True, highlight=False)


def main() -> None:
    """Run the command line; an error of ours is one sentence on stderr and exit status 1."""
    configure_logs()
    try:
        cli()
    except AmityError as error:
        sys.stderr.write(f"amity: {error.message}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
