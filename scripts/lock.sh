#!/usr/bin/env bash
# Writes constraints.txt: every package that radtune with all its extras installs, at the version tried together.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder"
"$folder/bin/pip" install --quiet '.[study,slurm,teacher,dicom,gguf,bitsandbytes,dev]'
{
  echo "# Made by \`make lock\`. torch carries no build tag, so that pip picks the machine's own build; the CUDA packages"
  echo "# that its GPU build brings are pinned by torch itself."
  "$folder/bin/pip" freeze --exclude radtune | grep -v -i -E '^(nvidia|triton|cuda)' | sed -E 's/\+[A-Za-z0-9.]+$//'
} > constraints.txt
