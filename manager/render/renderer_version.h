// SPDX-License-Identifier: Apache-2.0
//
// RendererVersion names what renders by the content of its programs, so that
// results of another build are not taken for results of this one. Reads them
// whole: some tenths of a second.

#ifndef FLOTILLA_MANAGER_RENDER_RENDERER_VERSION_H_
#define FLOTILLA_MANAGER_RENDER_RENDERER_VERSION_H_

#include <string>
#include <vector>

namespace flotilla::manager {

// 64 hexadecimal digits. A program that cannot be read counts as an empty one:
// it cannot be run either.
std::string RendererVersion(const std::vector<std::string>& programs);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_RENDERER_VERSION_H_
