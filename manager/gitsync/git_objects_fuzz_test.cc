// SPDX-License-Identifier: Apache-2.0
//
// Any Git objects, byte by byte as a hostile client may push them. A line that
// begins with "@b", "@t" or "@c" begins a blob, a tree or a commit; what
// follows are its bytes, but that "$a" is a NUL and the id of the first object,
// as an entry of a tree ends, and "&a" is that id in hex. The last tree is the
// root. Whatever it is: paths of the tree are plain, in order and each there
// once, files read as the bytes that they are said to be, and everything else
// says why it cannot be read.

#include <git2.h>
#include <git2/sys/mempack.h>
#include <git2/sys/repository.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "manager/gitsync/commit_tree.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/libgit2_handles.h"
#include "manager/gitsync/libgit2_library.h"

namespace {

using flotilla::manager::CommitTree;
using flotilla::manager::FileTree;
using flotilla::manager::OdbPtr;
using flotilla::manager::OwnRepository;
using flotilla::manager::RepositoryPtr;
using flotilla::manager::TreeEntry;
using flotilla::manager::WalkLimits;

constexpr size_t kMaxObjects = 24;
constexpr uint64_t kMaxFile = 1 << 16;

void Check(bool condition, const std::string& what) {
  if (condition) return;
  fprintf(stderr, "fuzz: %.200s\n", what.c_str());
  abort();
}

struct Objects {
  RepositoryPtr repository;
  bool has_root = false;
  git_oid root = {};
};

// `bytes` with the references to `ids` put in.
std::string WithIds(absl::string_view bytes, const std::vector<git_oid>& ids) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool reference = (bytes[i] == '$' || bytes[i] == '&') &&
                           i + 1 < bytes.size() && bytes[i + 1] >= 'a' &&
                           static_cast<size_t>(bytes[i + 1] - 'a') < ids.size();
    if (!reference) {
      out.push_back(bytes[i]);
      continue;
    }
    const git_oid& id = ids[static_cast<size_t>(bytes[i + 1] - 'a')];
    if (bytes[i] == '&') {
      out += flotilla::manager::HexOf(&id);
    } else {
      out.push_back('\0');
      out.append(reinterpret_cast<const char*>(id.id), GIT_OID_RAWSZ);
    }
    ++i;
  }
  return out;
}

Objects Write(absl::string_view input) {
  Objects out;
  git_odb* raw_odb = nullptr;
  git_odb_backend* backend = nullptr;
  Check(git_odb_new(&raw_odb) == 0, "no object database");
  const OdbPtr odb(raw_odb);
  Check(git_mempack_new(&backend) == 0 &&
            git_odb_add_backend(odb.get(), backend, 1) == 0,
        "no memory for objects");
  git_repository* raw_repository = nullptr;
  Check(git_repository_wrap_odb(&raw_repository, odb.get()) == 0,
        "no repository");
  out.repository = OwnRepository(raw_repository);

  std::vector<git_oid> ids;
  git_object_t type = GIT_OBJECT_INVALID;
  std::string bytes;
  const auto finish = [&] {
    if (type == GIT_OBJECT_INVALID || ids.size() == kMaxObjects) return;
    const std::string content = WithIds(bytes, ids);
    git_oid id;
    if (git_odb_write(&id, odb.get(), content.data(), content.size(), type) !=
        0) {
      return;
    }
    ids.push_back(id);
    if (type == GIT_OBJECT_TREE) {
      out.root = id;
      out.has_root = true;
    }
  };
  for (const absl::string_view line : absl::StrSplit(input, '\n')) {
    git_object_t next = GIT_OBJECT_INVALID;
    if (line == "@b") next = GIT_OBJECT_BLOB;
    if (line == "@t") next = GIT_OBJECT_TREE;
    if (line == "@c") next = GIT_OBJECT_COMMIT;
    if (next != GIT_OBJECT_INVALID) {
      finish();
      type = next;
      bytes.clear();
      continue;
    }
    // Between the lines of an object, not after its last one.
    if (!bytes.empty()) bytes.push_back('\n');
    bytes.append(line.data(), line.size());
  }
  finish();
  return out;
}

void CheckPath(const std::string& path) {
  Check(flotilla::manager::IsPlainText(path), "control characters in a path");
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    Check(!part.empty() && part != "." && part != "..", path);
  }
}

void CheckEntry(FileTree& tree, const TreeEntry& entry) {
  switch (entry.kind) {
    case TreeEntry::Kind::kFile: {
      CheckPath(entry.path);
      const absl::StatusOr<std::string> bytes =
          tree.Read(entry.path, kMaxFile);
      Check(bytes.ok() ? bytes->size() == entry.size
                       : !absl::IsInvalidArgument(bytes.status()),
            entry.path);
      break;
    }
    case TreeEntry::Kind::kDirectory:
      CheckPath(entry.path);
      break;
    case TreeEntry::Kind::kBrokenLink:
    case TreeEntry::Kind::kOther:
      Check(!entry.problem.empty() && entry.problem.size() < 2000 &&
                flotilla::manager::IsPlainText(entry.problem),
            entry.path);
      // With '?' it may stand for a name that cannot be shown.
      Check(absl::StrContains(entry.path, '?') ||
                !tree.Read(entry.path, kMaxFile).ok(),
            entry.path);
      break;
    case TreeEntry::Kind::kSubmodule:
      Check(!tree.Read(entry.path, kMaxFile).ok(), entry.path);
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Check(flotilla::manager::InitLibgit2().ok(), "no libgit2");
  const Objects objects =
      Write(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!objects.has_root) return 0;
  absl::Mutex mu;
  std::atomic<bool> damaged{false};
  CommitTree tree(nullptr, mu, damaged, objects.repository, objects.root);
  WalkLimits limits;
  limits.max_entries = 2000;
  const absl::StatusOr<std::vector<TreeEntry>> entries =
      tree.Walk("", limits);
  if (!entries.ok()) {
    Check(flotilla::manager::IsPlainText(entries.status().message()),
          "control characters in an error");
    return 0;
  }
  std::string last;
  for (const TreeEntry& entry : *entries) {
    CheckEntry(tree, entry);
    if (entry.kind == TreeEntry::Kind::kOther) continue;
    Check(entry.path > last, "the same path twice, or out of order");
    last = entry.path;
  }
  return 0;
}
