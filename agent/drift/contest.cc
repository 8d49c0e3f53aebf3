// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/contest.h"

#include <algorithm>
#include <string>
#include <vector>

namespace flotilla::agent {
namespace {

using agentstate::v1::InventoryEntry;
using agentstate::v1::SeenChange;

// Of all managers together.
constexpr int kMaxChanges = 4 * (kMaxCorrections + 1);

absl::Time TimeOf(const SeenChange& change) {
  return absl::FromUnixMillis(change.unix_millis());
}

// A time in the future is from before the clock was put back.
bool Counts(const SeenChange& change, absl::Time now) {
  return TimeOf(change) <= now && now - TimeOf(change) < kContestWindow;
}

}  // namespace

void NoteChange(const std::string& manager, absl::Time now,
                InventoryEntry* entry) {
  auto& changes = *entry->mutable_changes();
  changes.erase(std::remove_if(changes.begin(), changes.end(),
                               [now](const SeenChange& change) {
                                 return !Counts(change, now);
                               }),
                changes.end());
  const auto by_manager = [&manager](const SeenChange& change) {
    return change.field_manager() == manager;
  };
  // What is older than the last ones tells nothing more.
  if (std::count_if(changes.begin(), changes.end(), by_manager) >
      kMaxCorrections) {
    changes.erase(std::find_if(changes.begin(), changes.end(), by_manager));
  } else if (changes.size() >= kMaxChanges) {
    changes.erase(changes.begin());
  }
  SeenChange& change = *changes.Add();
  change.set_field_manager(manager);
  change.set_unix_millis(absl::ToUnixMillis(now));
}

absl::Time ContestedUntil(const std::string& manager, absl::Time now,
                          const InventoryEntry& entry) {
  std::vector<absl::Time> times;
  for (const SeenChange& change : entry.changes()) {
    if (change.field_manager() == manager && Counts(change, now)) {
      times.push_back(TimeOf(change));
    }
  }
  if (times.size() <= kMaxCorrections) return absl::InfinitePast();
  std::sort(times.begin(), times.end());
  return times[times.size() - kMaxCorrections - 1] + kContestWindow;
}

}  // namespace flotilla::agent
