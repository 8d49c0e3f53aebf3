// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace flotilla {
namespace {

constexpr size_t kMaxBytes = 1024 * 1024;

absl::Status Failed(absl::string_view doing, const std::string& path) {
  const int error = errno;
  return absl::ErrnoToStatus(error, absl::StrCat("cannot ", doing, " ", path));
}

absl::Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("open folder", folder);
  const int synced = fsync(fd);
  close(fd);
  return synced == 0 ? absl::OkStatus() : Failed("sync folder", folder);
}

}  // namespace

absl::StatusOr<std::string> ReadPrivateFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed("read", path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  std::string bytes;
  char buffer[8192];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path);
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
    if (bytes.size() > kMaxBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is larger than 1 MiB: not a file of ours"));
    }
  }
}

absl::Status WritePrivateFile(const std::string& path,
                              absl::string_view bytes) {
  const std::string temporary = absl::StrCat(path, ".new");
  const int fd = open(temporary.c_str(),
                      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("write", temporary);
  absl::Status status;
  while (!bytes.empty() && status.ok()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put >= 0) {
      bytes.remove_prefix(static_cast<size_t>(put));
    } else if (errno != EINTR) {
      status = Failed("write", temporary);
    }
  }
  if (status.ok() && (fchmod(fd, 0600) != 0 || fsync(fd) != 0)) {
    status = Failed("write", temporary);
  }
  close(fd);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = Failed("write", path);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncFolderOf(path);
}

absl::Status MakePrivateFolder(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (!part.empty() && mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return Failed("make folder", part);
    }
    if (end == std::string::npos) break;
  }
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0) return Failed("look at", path);
  if (!S_ISDIR(found.st_mode)) errno = ENOTDIR;
  if (!S_ISDIR(found.st_mode) || access(path.c_str(), W_OK | X_OK) != 0) {
    return Failed("write into", path);
  }
  return absl::OkStatus();
}

}  // namespace flotilla
