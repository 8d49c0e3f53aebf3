// SPDX-License-Identifier: Apache-2.0
//
// Builds the AdminActions of a running manager: document texts are read on a
// worker and handed to the registry, polls to the poller, tokens to enrolment.

#ifndef FLOTILLA_MANAGER_ADMIN_ADMIN_ACTIONS_H_
#define FLOTILLA_MANAGER_ADMIN_ADMIN_ACTIONS_H_

#include "common/event/worker_pool.h"
#include "manager/admin/admin_service.h"
#include "manager/admin/read_model.h"
#include "manager/documents/document_registry.h"
#include "manager/gitsync/git_poller.h"
#include "manager/stream/enrolment.h"

namespace flotilla::manager {

// Everything must outlive the result.
AdminActions MakeAdminActions(WorkerPool& workers, const ReadModel& model,
                              DocumentRegistry& registry, GitPoller& poller,
                              Enrolment& enrolment, const Clock& clock);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_ADMIN_ACTIONS_H_
