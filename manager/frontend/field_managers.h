// SPDX-License-Identifier: Apache-2.0
//
// The names under which the manager owns fields of objects in the management
// cluster. Not kFieldManager: an agent may deploy the very same objects.

#ifndef FLOTILLA_MANAGER_FRONTEND_FIELD_MANAGERS_H_
#define FLOTILLA_MANAGER_FRONTEND_FIELD_MANAGERS_H_

namespace flotilla::manager {

// Of objects that it makes, of status, of Events.
inline constexpr char kManagerFields[] = "flotilla-manager";
// Of the finalizer alone.
inline constexpr char kFinalizerFields[] = "flotilla-manager-finalizer";

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_FIELD_MANAGERS_H_
