// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/run_tools.h"

#include <string>

namespace flotilla::agent {
namespace {

int Badness(RunEnd end) {
  switch (end) {
    case RunEnd::kClean:
      return 0;
    case RunEnd::kWaiting:
      return 1;
    case RunEnd::kFailed:
      return 2;
    case RunEnd::kBlocked:
      return 3;
  }
  return 0;
}

}  // namespace

void RunResult::Note(RunEnd other, const std::string& why) {
  if (Badness(other) > Badness(end) || trouble.empty()) trouble = why;
  if (Badness(other) > Badness(end)) end = other;
}

}  // namespace flotilla::agent
