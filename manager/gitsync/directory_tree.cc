// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/directory_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxEntries = 100'000;

absl::Status ErrnoOf(int error, const std::string& path) {
  return absl::ErrnoToStatus(error,
                             absl::StrCat("cannot read \"", path, "\""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirectoryTree>> DirectoryTree::Open(
    std::string root) {
  struct stat st = {};
  if (stat(root.c_str(), &st) != 0) return ErrnoOf(errno, root);
  if (!S_ISDIR(st.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", root, "\" is not a directory"));
  }
  return std::unique_ptr<DirectoryTree>(new DirectoryTree(std::move(root)));
}

std::string DirectoryTree::OnDisk(const std::string& path) const {
  return path.empty() ? root_ : absl::StrCat(root_, "/", path);
}

absl::StatusOr<std::vector<FileTree::RawEntry>> DirectoryTree::ReadDirectory(
    const std::string& directory) {
  DIR* dir = opendir(OnDisk(directory).c_str());
  if (dir == nullptr) return ErrnoOf(errno, directory);
  const absl::Cleanup close = [dir] { closedir(dir); };
  std::vector<RawEntry> out;
  while (true) {
    errno = 0;
    const dirent* found = readdir(dir);
    if (found == nullptr) {
      if (errno != 0) return ErrnoOf(errno, directory);
      break;
    }
    RawEntry entry;
    entry.name = found->d_name;
    if (entry.name == "." || entry.name == ".." || entry.name == ".git") {
      continue;
    }
    if (out.size() >= kMaxEntries) {
      return absl::ResourceExhaustedError(
          absl::StrCat("directory \"", directory, "\" has more than ",
                       kMaxEntries, " entries"));
    }
    struct stat st = {};
    if (fstatat(dirfd(dir), found->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoOf(errno, absl::StrCat(directory, "/", entry.name));
    }
    if (S_ISREG(st.st_mode)) {
      entry.kind = RawEntry::Kind::kFile;
      entry.size = static_cast<uint64_t>(st.st_size);
      entry.executable = (st.st_mode & S_IXUSR) != 0;
    } else if (S_ISDIR(st.st_mode)) {
      entry.kind = RawEntry::Kind::kDirectory;
    } else if (S_ISLNK(st.st_mode)) {
      entry.kind = RawEntry::Kind::kLink;
    } else {
      entry.kind = RawEntry::Kind::kOther;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

absl::StatusOr<std::string> DirectoryTree::ReadFile(const std::string& path,
                                                    uint64_t max_bytes) {
  const int fd =
      open(OnDisk(path).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return ErrnoOf(errno, path);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  std::string out;
  char buffer[16384];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoOf(errno, path);
    }
    if (got == 0) return out;
    out.append(buffer, static_cast<size_t>(got));
    if (out.size() > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("file \"", path, "\" has more than ", max_bytes,
                       " bytes"));
    }
  }
}

absl::StatusOr<std::string> DirectoryTree::ReadLink(const std::string& path) {
  char buffer[4097];
  const ssize_t got =
      readlink(OnDisk(path).c_str(), buffer, sizeof(buffer));
  if (got < 0) return ErrnoOf(errno, path);
  return std::string(buffer, static_cast<size_t>(got));
}

}  // namespace flotilla::manager
