#!/usr/bin/env bash
# The whole path on real data, in a folder that is removed again: recipe -> run -> predict -> serve -> call. Run it with `make demo`.
set -euo pipefail

folder="$(mktemp -d)"
server=""
finish() {
  if [[ -n "$server" ]]; then kill "$server" 2>/dev/null && wait "$server" || true; fi
  rm -rf "$folder"
}
trap finish EXIT
cd "$folder"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '\n$ %s\n' "$*"; "$@"; }

say "1. A recipe: measurements of tumours, which come with scikit-learn"
show lode init medicine/breast-cancer patients
cd patients
show cat lode.yaml
show lode check

say "2. Data, training with baselines, evaluation, package"
show lode run

say "3. What exists now, and where it comes from"
show lode artifacts
show lode lineage breast-cancer

say "4. Predict a file"
python - <<'PYTHON'
# Five patients, written as a client would send them.
import polars as pl
from sklearn.datasets import load_breast_cancer

bunch = load_breast_cancer()
pl.DataFrame(bunch.data[[0, 1, 19, 20, 100]], schema=list(bunch.feature_names)).write_csv("patients.csv")
PYTHON
show lode predict breast-cancer patients.csv --output answers.csv
show cat answers.csv

say "5. Serve it, call it, stop it"
python -c 'import secrets; print("demo_" + secrets.token_hex(24))' > key.txt
port="$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
echo "\$ lode serve breast-cancer --port $port --key-file key.txt &"
lode serve breast-cancer --port "$port" --key-file key.txt &
server=$!
python - "$port" <<'PYTHON'
# The same five patients over HTTP, and a request with a mistake in it.
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import polars as pl

address = f"http://127.0.0.1:{sys.argv[1]}"
headers = {"Authorization": f"Bearer {Path('key.txt').read_text().strip()}", "Content-Type": "application/json"}


def call(path, body=None):
    request = urllib.request.Request(address + path, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


for _ in range(300):
    try:
        if call("/health/ready").get("ready"):
            break
    except urllib.error.URLError:
        pass
    time.sleep(0.2)
else:
    sys.exit("the server did not get ready within a minute")

rows = pl.read_csv("patients.csv").to_dicts()
for answer in call("/v1/models/breast-cancer:predict", {"rows": rows})["predictions"]:
    print(answer)
del rows[0]["mean radius"]
rows[1]["mean texture"] = "rough"
print(json.dumps(call("/v1/models/breast-cancer:predict", {"rows": rows[:2]}), indent=2))
PYTHON

say "6. Sell it: a price, a customer, a key, a budget; then use, bill, margin, proof"
mkdir -p plans
cat > plans/team.toml <<'TOML'
name = "team"
version = 1
currency = "EUR"
period = "month"
[[fees]]
name = "base"
amount = "49.00"
[[charges]]
name = "answers"
type = "standard"
unit = "rows"
price = "0.02"
TOML
cat > runs/seller.toml <<'TOML'
name = "Northwind Models GmbH"
address = ["Beispielweg 7", "10115 Berlin"]
country = "DE"
TOML
show lode plans add plans/team.toml
lode customers add acme --name "Acme Clinic" --currency EUR --country DE > customer.txt
lode plans subscribe acme team > subscription.txt
lode keys create acme --json > acme.json
show lode keys limit organisation/acme "5.00 EUR/month"
python - "$port" <<'PYTHON'
# The customer asks 300 times; the budget is for 250.
import collections
import http.client
import json
import sys
import time
from pathlib import Path

import polars as pl

time.sleep(2)  # running servers see new keys within two seconds
body = json.dumps({"rows": pl.read_csv("patients.csv").head(1).to_dicts()})
headers = {"Authorization": f"Bearer {json.loads(Path('acme.json').read_text())['key']}", "Content-Type": "application/json"}
line, counts = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])), collections.Counter()
for _ in range(300):
    line.request("POST", "/v1/models/breast-cancer:predict", body, headers)
    answer = line.getresponse()
    answer.read()
    counts[answer.status] += 1
print(f"{counts[200]} answered, {counts[402]} refused: the budget is used up")
PYTHON
show lode usage acme
show lode bill acme --interim
show lode margin --price-per-hour "0.12 EUR"
show lode audit verify
kill "$server"
wait "$server" || true
server=""

say "Done. To keep one of your own: lode init medicine/breast-cancer DIR"
