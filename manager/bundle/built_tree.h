// SPDX-License-Identifier: Apache-2.0
//
// For tests: bundles of a tree in memory, as GitRepo "repo" has them.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUILT_TREE_H_
#define FLOTILLA_MANAGER_BUNDLE_BUILT_TREE_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_content.h"
#include "manager/gitsync/memory_tree.h"

namespace flotilla::manager {

using Files = std::map<std::string, std::string>;

inline storage::v1::Document GitRepo(std::vector<std::string> paths = {}) {
  storage::v1::Document document;
  document.set_kind("GitRepo");
  document.set_workspace("fleet-default");
  document.set_name("repo");
  document.mutable_git_repo();
  for (const std::string& path : paths) {
    document.mutable_git_repo()->add_paths(path);
  }
  return document;
}

inline BuildResult Build(const Files& files,
                         std::vector<std::string> paths = {},
                         const Files& links = {}) {
  MemoryTree tree(files, links);
  return BuildBundles(tree, GitRepo(std::move(paths)));
}

inline std::vector<std::string> Names(const BuildResult& result) {
  std::vector<std::string> names;
  for (const BuiltBundle& bundle : result.bundles) names.push_back(bundle.name);
  return names;
}

inline std::vector<std::string> FileNames(const BuiltBundle& bundle) {
  std::vector<std::string> names;
  for (const ContentFile& file : bundle.content->files) {
    names.push_back(file.name);
  }
  return names;
}

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUILT_TREE_H_
