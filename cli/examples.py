"""Examples that `--help` of every command ends with. One place, so that a test can check that each is understood."""

import typer
from typer.main import get_command_name

EXAMPLES: dict[str, tuple[str, ...]] = {
    "hide": (
        "ddsr hide face.jpg --disguise 'a glacier under a blue sky'",
        "ddsr hide face.jpg --disguise 'a glacier under a blue sky' -o stego.webp --force",
        "ddsr hide face.jpg --disguise 'a dark forest' --scheme sealed --channel jpeg -o stego.jpg",
        "ddsr hide photos/anna.jpg photos/ben.jpg --crop face --disguise 'a dark forest' --out-dir hidden --json",
    ),
    "recover": (
        "ddsr recover stego.png -o face.png",
        "ddsr recover - < stego.png > face.png",
        "ddsr recover received.jpg --recipe stego.png.recipe --identity-prompt-file prompt.txt -o face.png",
        "ddsr recover stego.jpg --decoy -o face.png",
    ),
    "passphrase": ("ddsr passphrase", "ddsr passphrase --words 7"),
    "up": ("ddsr up", "ddsr up --workers 2 --sender-port 9001 --receiver-port 9002 --state /var/lib/ddsr"),
    "demo": ("ddsr demo", "ddsr demo --image face.jpg --out demo"),
    "doctor": ("ddsr doctor", "ddsr doctor --no-model --json"),
    "jobs list": ("ddsr jobs list --state queued --state running", "ddsr jobs list --kind recover --json"),
    "jobs show": ("ddsr jobs show 3f9a0c5b7d1e42688ab0c4d2e6f81357",),
    "jobs cancel": ("ddsr jobs cancel 3f9a0c5b7d1e42688ab0c4d2e6f81357",),
    "jobs wait": ("ddsr jobs wait 3f9a0c5b7d1e42688ab0c4d2e6f81357 --timeout 60",),
    "keys show": ("ddsr keys show keys/worker",),
    "keys rotate": ("ddsr keys rotate keys/worker",),
    "keys destroy": ("ddsr keys destroy keys/worker 5d1c8e0a3f7b2964",),
    "train vae": ("ddsr train vae --material data --set every=8", "ddsr train vae --material data --tiny"),
    "train clip": ("ddsr train clip --material data",),
    "train diffusion": ("ddsr train diffusion --material data --device cuda --name long",),
    "train pcr": ("ddsr train pcr --material data --pipeline runs/model",),
    "train pack": ("ddsr train pack --runs runs --target runs/model",),
    "train plan": ("ddsr train plan runs/model --material data",),
    "train rates": ("ddsr train rates runs/model --material data",),
    "train all": ("ddsr train all --material data --out trained --budget 25m --device cuda",),
    "train codec": ("ddsr train codec --material data --set minutes=60",),
    "eval instruments": ("ddsr eval instruments --out runs/eval",),
    "eval reversibility": ("ddsr eval reversibility --limit 16 --data faces.tar --scheme paper",),
    "eval security": ("ddsr eval security --limit 40 --epochs 30",),
    "eval robustness": ("ddsr eval robustness --scheme keyed --scheme paper --limit 20",),
    "eval ablation": ("ddsr eval ablation --model runs/with --without runs/without",),
    "eval keys": ("ddsr eval keys --limit 20",),
    "eval peers": ("ddsr eval peers --limit 20",),
    "eval sealed": ("ddsr eval sealed --limit 20 --channel jpeg",),
    "eval services": ("ddsr eval services", "ddsr eval services --send-faces-to compreface --limit 12"),
    "eval stegos": ("ddsr eval stegos --limit 200",),
    "eval codecs": ("ddsr eval codecs --limit 30",),
    "eval publish": ("ddsr eval publish",),
    "bench core": ("ddsr bench core --batch 1 --rounds 3",),
    "bench service": ("ddsr bench service",),
    "bench workers": ("ddsr bench workers",),
    "bench gpu": ("ddsr bench gpu",),
    "eval all": ("ddsr eval all --limit 12 --out runs/report",),
}


def add_examples(app: typer.Typer, above: tuple[str, ...] = ()) -> None:
    """Give every command of `app` and of its groups an epilogue with its examples."""
    for command in app.registered_commands:
        name = command.name or get_command_name(command.callback.__name__ if command.callback else "")
        found = EXAMPLES.get(" ".join((*above, name)), ())
        if found:
            command.epilog = "\n\n".join(("Examples:" if len(found) > 1 else "Example:", *found))
    for group in app.registered_groups:
        if group.typer_instance is not None and group.name:
            add_examples(group.typer_instance, (*above, group.name))
