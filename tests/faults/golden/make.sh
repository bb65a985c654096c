#!/usr/bin/env bash
# Makes the golden run of a new schema with the binary of today; README.md says when.
#   make.sh NAME [BINARY]          for example: make.sh schema-1.1
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "${2:-$here/../../../build/release/headscope}")
folder=$here/${1:?usage: make.sh NAME [BINARY]}
mkdir "$folder"
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
"$binary" run "$here/config.toml" --out "$made/run" --threads 1
cp "$here/config.toml" "$folder"
tar --sort=name --mtime=2000-01-01 --owner=0 --group=0 --numeric-owner -C "$made" -cz -f "$folder/run.tar.gz" run
du -b "$folder"/*
