#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Stages a Go module's files into a folder of its own and runs go there.
#   go_in_module.sh ROOT FILE... [--place FILE PATH]... -- GO-ARGUMENT...
# ROOT is the module's folder in the tree; each FILE lies under it, or under
# the same folder of Bazel's output.
set -euo pipefail

minimum_minor=26

# Bazel hands down neither HOME nor PATH.
HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
export HOME
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=

find_go() {
  local candidate version
  for candidate in "$(command -v go || true)" \
    "$HOME/.cache/flotilla/tools/bin/go" /usr/local/go/bin/go; do
    [[ -n $candidate && -x $candidate ]] || continue
    version=$("$candidate" env GOVERSION)
    [[ $version =~ ^go1\.([0-9]+) ]] || continue
    if ((BASH_REMATCH[1] >= minimum_minor)); then
      echo "$candidate"
      return
    fi
  done
  echo "no Go 1.$minimum_minor or newer found: run tools/setup" >&2
  return 1
}

root=$1
shift
go=$(find_go)
stage=$(mktemp -d)
trap 'chmod -R u+w "$stage" && rm -rf "$stage"' EXIT

place() {
  mkdir -p "$stage/$(dirname "$2")"
  cp -L "$1" "$stage/$2"
}

while (($# > 0)); do
  case $1 in
    --)
      shift
      break
      ;;
    --place)
      place "$2" "$3"
      shift 3
      ;;
    *)
      inside=$(sed -E 's#^bazel-out/[^/]+/bin/##' <<<"$1")
      if [[ $inside != "$root"/* ]]; then
        echo "$1 does not lie in the Go module $root" >&2
        exit 1
      fi
      place "$1" "${inside#"$root"/}"
      shift
      ;;
  esac
done

# Each argument list is one go command; "--" stands between them.
status=0
while (($# > 0)); do
  command=()
  while (($# > 0)) && [[ $1 != -- ]]; do
    command+=("$1")
    shift
  done
  (($# == 0)) || shift
  (cd "$stage" && "$go" "${command[@]}") || status=$?
done
exit "$status"
