#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Vets and tests a Go module: go_test.sh ROOT PACKAGES FILE...
# Writes one test case per Go test where Bazel asks for XML.
set -euo pipefail

root=$1
packages=$2
shift 2
log=$(mktemp)
status=0
# Tests use what is installed; the C compiler may be absent.
bazel/go_in_module.sh "$root" "$@" -- vet "$packages" -- \
  test -count=1 -v "$packages" | tee "$log" || status=$?

if [[ -n ${XML_OUTPUT_FILE:-} ]]; then
  awk -v status="$status" '
    function escaped(s) {
      gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s)
      gsub(/>/, "\\&gt;", s); gsub(/"/, "\\&quot;", s)
      return s
    }
    /^ *--- (PASS|FAIL|SKIP): / {
      verdict = $2; sub(/:/, "", verdict)
      name[++n] = escaped($3); result[n] = verdict; text[n] = said; said = ""
      next
    }
    /^ *=== / { said = "" }
    /^ +[^ ]+\.go:[0-9]+: / { sub(/^ +/, ""); said = said $0 " " }
    END {
      failed = 0; skipped = 0
      for (i = 1; i <= n; i++) {
        failed += result[i] == "FAIL"; skipped += result[i] == "SKIP"
      }
      if (status != 0 && failed == 0) {
        name[++n] = "go"; result[n] = "FAIL"; failed = 1
      }
      if (n == 0) { name[++n] = "go vet"; result[n] = "PASS" }
      printf "<testsuites><testsuite name=\"go\" tests=\"%d\" failures=\"%d\">\n", n, failed
      for (i = 1; i <= n; i++) {
        printf "<testcase classname=\"go\" name=\"%s\"", name[i]
        if (result[i] == "FAIL") print "><failure message=\"failed, see the log\"/></testcase>"
        else if (result[i] == "SKIP") printf " result=\"skipped\"><skipped message=\"%s\"/></testcase>\n", escaped(text[i])
        else print "/>"
      }
      print "</testsuite></testsuites>"
    }' "$log" >"$XML_OUTPUT_FILE"
fi
rm -f "$log"
exit "$status"
