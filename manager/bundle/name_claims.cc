// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/name_claims.h"

namespace flotilla::manager {

void NameClaims::Set(const std::string& source, const std::string& workspace,
                     const std::set<std::string>& names) {
  const auto known = by_source_.find(source);
  if (known != by_source_.end()) {
    for (const Name& name : known->second) {
      const auto waiting = by_name_.find(name);
      waiting->second.erase(source);
      if (waiting->second.empty()) by_name_.erase(waiting);
    }
    by_source_.erase(known);
  }
  for (const std::string& name : names) {
    by_source_[source].emplace(workspace, name);
    by_name_[{workspace, name}].insert(source);
  }
}

std::set<std::string> NameClaims::WaitingFor(const std::string& workspace,
                                             const std::string& name) const {
  const auto it = by_name_.find({workspace, name});
  return it == by_name_.end() ? std::set<std::string>() : it->second;
}

}  // namespace flotilla::manager
