// SPDX-License-Identifier: Apache-2.0
//
// The YAML files of this directory, one CustomResourceDefinition each, as the
// program carries them. embedded_crds.cc is made by the build.

#ifndef FLOTILLA_MANAGER_FRONTEND_CRDS_EMBEDDED_CRDS_H_
#define FLOTILLA_MANAGER_FRONTEND_CRDS_EMBEDDED_CRDS_H_

#include <string>
#include <vector>

namespace flotilla::manager {

const std::vector<std::string>& EmbeddedCrds();

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_CRDS_EMBEDDED_CRDS_H_
