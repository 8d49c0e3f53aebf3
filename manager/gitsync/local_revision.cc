// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/local_revision.h"

#include <git2.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "manager/gitsync/commit_tree.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/libgit2_handles.h"
#include "manager/gitsync/libgit2_library.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;

// What a tree needs to stay alive.
struct Holder {
  absl::Mutex mu;
  std::atomic<bool> damaged{false};
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileTree>> OpenLocalRevision(
    const std::string& directory, const std::string& revision) {
  if (absl::Status ready = InitLibgit2(); !ready.ok()) return ready;
  std::error_code error;
  const fs::path path = fs::canonical(directory, error);
  if (error) {
    return absl::NotFoundError(
        absl::StrCat(directory, ": ", error.message()));
  }
  git_repository* raw_repository = nullptr;
  if (git_repository_open_ext(&raw_repository, path.c_str(), 0, nullptr) != 0) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is not in a Git repository"));
  }
  RepositoryPtr repository = OwnRepository(raw_repository);
  const char* root = git_repository_workdir(repository.get());
  const fs::path inside =
      root == nullptr ? fs::path() : fs::relative(path, root, error);
  const std::string spec =
      absl::StrCat(revision, ":",
                   inside == "." ? std::string() : inside.generic_string());
  git_object* raw_object = nullptr;
  if (git_revparse_single(&raw_object, repository.get(), spec.c_str()) != 0) {
    return absl::NotFoundError(absl::StrCat(
        "revision \"", ToDisplayText(revision, 100), "\" of the repository of ",
        directory, " is not there, or has no such directory"));
  }
  const ObjectPtr object(raw_object);
  if (git_object_type(object.get()) != GIT_OBJECT_TREE) {
    return absl::NotFoundError(absl::StrCat(
        directory, " is no directory in \"", ToDisplayText(revision, 100),
        "\""));
  }
  auto holder = std::make_shared<Holder>();
  absl::Mutex& mu = holder->mu;
  std::atomic<bool>& damaged = holder->damaged;
  return std::unique_ptr<FileTree>(std::make_unique<CommitTree>(
      std::move(holder), mu, damaged, std::move(repository),
      *git_object_id(object.get())));
}

absl::optional<LocalCommit> FindLocalCommit(const std::string& directory) {
  if (!InitLibgit2().ok()) return absl::nullopt;
  git_repository* raw_repository = nullptr;
  if (git_repository_open_ext(&raw_repository, directory.c_str(), 0,
                              nullptr) != 0) {
    return absl::nullopt;
  }
  const RepositoryPtr repository = OwnRepository(raw_repository);
  git_oid id;
  git_commit* raw_commit = nullptr;
  if (git_reference_name_to_id(&id, repository.get(), "HEAD") != 0 ||
      git_commit_lookup(&raw_commit, repository.get(), &id) != 0) {
    return absl::nullopt;
  }
  const CommitPtr commit(raw_commit);
  return LocalCommit{HexOf(&id),
                     std::max<int64_t>(0, git_commit_time(commit.get()))};
}

}  // namespace flotilla::manager
