// SPDX-License-Identifier: Apache-2.0
//
// Tells a fight from drift: five corrections of what one field manager does to
// one object are made within ten minutes, and no more. Changes are counted, so
// that a fight ends ten minutes after the other has stopped at the latest. They
// are kept with the inventory: a restart is no new round.

#ifndef FLOTILLA_AGENT_DRIFT_CONTEST_H_
#define FLOTILLA_AGENT_DRIFT_CONTEST_H_

#include <string>

#include "absl/time/time.h"
#include "flotilla/agentstate/v1/agentstate.pb.h"

namespace flotilla::agent {

inline constexpr int kMaxCorrections = 5;
inline constexpr absl::Duration kContestWindow = absl::Minutes(10);

// Records a change by `manager`, empty when nobody knows by whom.
void NoteChange(const std::string& manager, absl::Time now,
                agentstate::v1::InventoryEntry* entry);

// Until when what `manager` did is not put right; not after `now`: it is.
absl::Time ContestedUntil(const std::string& manager, absl::Time now,
                          const agentstate::v1::InventoryEntry& entry);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_DRIFT_CONTEST_H_
