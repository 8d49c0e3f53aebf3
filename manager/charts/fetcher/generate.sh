#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes fetchv1/fetch.pb.go from the proto; the test of this module fails
# when the two disagree.
set -euo pipefail
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
go build -o "$tools/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
module=$(go list -m)
protoc -I../../../proto --plugin="$tools/protoc-gen-go" --go_out=. \
  --go_opt="module=$module" \
  --go_opt="Mflotilla/render/v1/fetch.proto=$module/fetchv1" \
  flotilla/render/v1/fetch.proto
