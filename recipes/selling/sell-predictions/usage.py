"""What a batch job measured: 100 requests of 40 rows each for both customers, a line each."""

import json
import sys
from datetime import UTC, datetime

now = datetime.now(UTC).isoformat()
for customer in ("acme", "globex"):
    for number in range(100):
        row = {
            "organisation": customer,
            "request_id": f"job-{number}",
            "at": now,
            "model": "sell-predictions",
            "units": {"rows": 40},
        }
        sys.stdout.write(json.dumps(row) + "\n")
