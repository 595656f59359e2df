"""Hub export: a file of units as a commit to a dataset on the Hugging Face hub; a new dataset is private."""

from __future__ import annotations

import re
from pathlib import Path

from wbrag.core.errors import UsageError, WbragError, said

ADDRESS = re.compile(r"hf://(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def checked_address(to: str) -> tuple[str, str | None]:
    """OWNER/NAME and the branch of `hf://OWNER/NAME[@BRANCH]`; raises `UsageError` for anything else."""
    found = ADDRESS.fullmatch(to.rstrip("/"))
    if found is None:
        raise UsageError(f"expected hf://OWNER/NAME, or hf://OWNER/NAME@BRANCH, found {to!r}: correct it")
    return found["name"], found["revision"]


def upload(file: Path, to: str, message: str) -> str:
    """`file` under its own name in the dataset at `to`: the commit's address. Raises `WbragError` where it fails."""
    name, revision = checked_address(to)
    from huggingface_hub import HfApi  # loads slowly

    try:
        hub = HfApi()
        hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        if revision:
            hub.create_branch(name, branch=revision, repo_type="dataset", exist_ok=True)
        done = hub.upload_file(
            path_or_fileobj=file,
            path_in_repo=file.name,
            repo_id=name,
            repo_type="dataset",
            revision=revision,
            commit_message=message,
        )
    except Exception as error:  # of the hub, of httpx, of the library's own checks
        raise WbragError(
            f"expected the hub to take {file.name} for {name}, found {said(error)}: `hf auth login`, or set HF_TOKEN "
            "to a token that may write there"
        ) from error
    return str(done.commit_url)
