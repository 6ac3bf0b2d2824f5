"""Networks of torch.hub: `hub:owner/repo:entry`, and `hub:FOLDER:entry` of a folder with a hubconf.py."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from repr_eval.representations.own_network.base import NamedNetwork, telling
from repr_eval.representations.own_network.cached import tensors_alone
from repr_eval.representations.own_network.code import made_by
from repr_eval.representations.own_network.preprocessing import NOT_SAID, of_timm

WEIGHTS = {"": {}, "pretrained": {"pretrained": True}, "untrained": {"pretrained": False}}


def from_hub(spec: str, seed: int) -> NamedNetwork:
    """What the entry of the repository's hubconf.py makes, called without arguments or with `pretrained`.

    A SPEC is `hub:WHERE:ENTRY`, with `:pretrained` or `:untrained` after it for entries that have such a parameter.
    WHERE is `owner/repo` on GitHub, `owner/repo@REF` for a branch or tag of it, or a path that begins with `.`, `/` or
    `~`. torch.hub fetches the repository into its own cache and runs its code, as Python runs any module. The weights
    that this code loads are checked as `cached.tensors_alone` says.
    """
    _, _, rest = spec.partition(":")
    where, _, entry = rest.partition(":")
    entry, _, weights = entry.partition(":")
    local = where.startswith((".", "/", "~"))
    if not entry or not (local or where.count("/") == 1) or where.startswith("@"):
        raise ValueError(f"encoder {spec!r}: needs hub:owner/repo:entry, or hub:./folder:entry")
    if weights not in WEIGHTS:
        raise ValueError(f"encoder {spec}: after the entry comes :pretrained, :untrained or nothing")
    folder = Path(where).expanduser()
    if local and not (folder / "hubconf.py").is_file():
        raise ValueError(f"encoder {spec}: {folder / 'hubconf.py'}: no such file")

    def build() -> Any:
        repository = str(folder) if local else where.replace("@", ":")
        source = "local" if local else "github"
        # trust_repo: whoever names the repository has decided; torch would ask on the terminal.
        return torch.hub.load(repository, entry, source=source, trust_repo=True, verbose=False, **WEIGHTS[weights])

    with telling(f"encoder {spec}"), tensors_alone():
        made = made_by(build, seed)
    own = [type(part) for part in made.modules()] if isinstance(made, nn.Module) else []
    # hubconf.py is no module that Python remembers: its classes are found by way of their code.
    sources = tuple(c.forward for c in own if c.__module__.partition(".")[0] != "torch")
    repository = folder.resolve().name if local else where
    return NamedNetwork(
        kind="hub",
        name=f"hub {repository} {entry}{f', {weights}' if weights else ''}",
        made=made,
        trained_on="nothing" if weights == "untrained" else "not said",
        sources=sources,
        seed=seed if weights != "pretrained" else None,
        preprocessing=of_timm(made) if isinstance(made, nn.Module) else NOT_SAID,
    )
