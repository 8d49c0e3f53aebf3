// SPDX-License-Identifier: Apache-2.0
//
// NameClaims remembers which sources have built a bundle whose name belongs to
// another one, so that they are built again when it is free (decisions.md 1).

#ifndef FLOTILLA_MANAGER_BUNDLE_NAME_CLAIMS_H_
#define FLOTILLA_MANAGER_BUNDLE_NAME_CLAIMS_H_

#include <map>
#include <set>
#include <string>
#include <utility>

namespace flotilla::manager {

// Loop-affine.
class NameClaims {
 public:
  // Replaces what `source`, a key of a document in `workspace`, waits for.
  void Set(const std::string& source, const std::string& workspace,
           const std::set<std::string>& names);
  void Clear(const std::string& source) { Set(source, "", {}); }

  // Sources that wait for a name.
  std::set<std::string> WaitingFor(const std::string& workspace,
                                   const std::string& name) const;

 private:
  using Name = std::pair<std::string, std::string>;  // Workspace, name.

  // Loop state.
  std::map<std::string, std::set<Name>> by_source_;
  std::map<Name, std::set<std::string>> by_name_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_NAME_CLAIMS_H_
