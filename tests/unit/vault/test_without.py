import subprocess
import sys

from tests.harness.operator import ROOT


def test_an_operator_without_a_vault_does_not_carry_its_client() -> None:
    asks = "import sys, dataops_operator.main; sys.exit('hvac' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], cwd=ROOT / "operator", check=False).returncode == 0
