"""What only some users install is not needed by the others, and who lacks it is told what to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

import tailrace
from tailrace import AwsLambdaAdapter, CloudRunAdapter, HttpWorkerAdapter, RayAdapter
from tailrace._extras import missing_extra


def test_importing_tailrace_imports_none_of_the_extras() -> None:
    extras = {"OpenImageIO", "numpy", "boto3", "botocore", "google.auth", "httpx", "ray", "requests", "uvicorn"}
    extras |= {"alembic", "prometheus_client", "psycopg", "sqlalchemy", "starlette"}
    program = f"import sys, tailrace, tailrace._cli; print({extras} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "set()\n"
    )


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [
        (lambda: AwsLambdaAdapter("shots", region="eu-north-1"), "boto3", "aws"),
        (lambda: CloudRunAdapter("http://127.0.0.1/"), "httpx", "gcp"),
        (lambda: CloudRunAdapter("http://127.0.0.1/"), "google.auth.transport.requests", "gcp"),
        (lambda: HttpWorkerAdapter("http://127.0.0.1/"), "httpx", "http"),
        (RayAdapter, "ray", "ray"),
    ],
    ids=["aws", "gcp-httpx", "gcp-google-auth", "http", "ray"],
)
def test_an_adapter_without_its_extra_names_the_command_that_installs_it(
    make: Callable[[], object], package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    for module in ("http_transport", "identity_tokens", "lambda_client"):
        monkeypatch.delitem(sys.modules, f"tailrace._remote.{module}", raising=False)
        # What is imported anew meanwhile takes its place in the package too, where it would stay.
        monkeypatch.delattr(tailrace, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"Adapter needs {package}.*: pip install 'tailrace\[{extra}\]'"):
        make()


def test_an_import_that_fails_without_a_name_is_told_by_its_words() -> None:
    error = missing_extra("HttpWorkerAdapter", "http", ImportError("a broken library"))
    assert str(error) == ("HttpWorkerAdapter needs what is missing (a broken library): pip install 'tailrace[http]'")
