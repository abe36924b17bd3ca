#!/bin/sh
# Check the workflows against the schemas that check-jsonschema ships, without the network.
set -eu
check=.venv/bin/check-jsonschema
"$check" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$check" --builtin-schema vendor.dependabot .github/dependabot.yml
