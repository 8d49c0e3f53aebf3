// SPDX-License-Identifier: Apache-2.0
//
// FieldReader takes the fields out of one JSON object of a document that a user
// wrote, checks their types, and knows which keys were asked for: what is left
// is an unknown key, a warning with the nearest known one. All problems are
// collected in a ProblemLog, none ends the reading, so that a user sees every
// problem at once, each with file and line.
//
// Example:
//   FieldReader spec(document.value, "", log);
//   git_repo.set_repo(spec.String("repo"));
//   spec.Unsupported({"imageScanInterval"});
//   spec.Finish();

#ifndef FLOTILLA_MANAGER_DOCUMENTS_FIELD_READER_H_
#define FLOTILLA_MANAGER_DOCUMENTS_FIELD_READER_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Problems of one document, in the order in which they were found. Keeps at
// most kMaxProblems of each sort; the last one then says that there are more.
//
// Thread-compatible.
class ProblemLog {
 public:
  static constexpr int kMaxProblems = 100;

  // `document` gives the lines; it must outlive the log. Null: no lines.
  ProblemLog(std::string file, std::string subject,
             const YamlDocument* document);
  ProblemLog(const ProblemLog&) = delete;
  ProblemLog& operator=(const ProblemLog&) = delete;

  // `pointer` is the JSON pointer of what the message is about. The message
  // begins with the field's path ("spec.targets[0].name: ...").
  void Error(absl::string_view pointer, absl::string_view message,
             absl::string_view code = "INVALID_ARGUMENT");
  void Warning(absl::string_view pointer, absl::string_view message);

  // From here on problems are about `subject`.
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  int LineOf(absl::string_view pointer) const;
  bool ok() const { return errors_.empty(); }
  const std::vector<core::v1::Problem>& errors() const { return errors_; }
  const std::vector<core::v1::Problem>& warnings() const { return warnings_; }

 private:
  void Add(std::vector<core::v1::Problem>& list, absl::string_view pointer,
           absl::string_view message, absl::string_view code);

  // Constant after construction.
  const std::string file_;
  const YamlDocument* const document_;

  std::string subject_;
  std::vector<core::v1::Problem> errors_;
  std::vector<core::v1::Problem> warnings_;
};

// Keys that are absent and keys that are null are the same. A getter whose key
// has another type logs an error and returns the default.
//
// Thread-compatible.
class FieldReader {
 public:
  // `object` must be a JSON object; it and `log` must outlive the reader.
  FieldReader(const nlohmann::json& object, std::string pointer,
              ProblemLog& log);

  // True when the key is there and not null. Does not make it known.
  bool Has(absl::string_view key) const;

  std::string String(absl::string_view key);
  bool Bool(absl::string_view key);
  std::optional<bool> OptionalBool(absl::string_view key);
  int64_t Int(absl::string_view key);
  std::vector<std::string> Strings(absl::string_view key);
  std::map<std::string, std::string> StringMap(absl::string_view key);
  std::optional<FieldReader> Object(absl::string_view key);
  std::vector<FieldReader> Objects(absl::string_view key);
  // Of any type; null when absent.
  const nlohmann::json* Value(absl::string_view key);

  // Keys that Fleet knows and that are not honoured: an error unless the value
  // is false, 0, "", empty or null, or an object of such values only.
  void Unsupported(std::initializer_list<absl::string_view> keys);
  // As above; `value` is allowed too.
  void UnsupportedUnless(absl::string_view key,
                         std::initializer_list<absl::string_view> values);
  // As Unsupported(), and an empty value is not allowed either.
  void UnsupportedIfPresent(std::initializer_list<absl::string_view> keys);
  // Keys that are known and change nothing.
  void Ignored(std::initializer_list<absl::string_view> keys);

  // Warns of every key that nobody asked for.
  void Finish();

  void Error(absl::string_view key, absl::string_view message);
  void Warning(absl::string_view key, absl::string_view message);
  int LineOf(absl::string_view key) const;
  std::string PointerOf(absl::string_view key) const;

  const std::string& pointer() const { return pointer_; }
  ProblemLog& log() { return *log_; }

 private:
  // The value, or null when it is absent or null.
  const nlohmann::json* Take(absl::string_view key);

  const nlohmann::json* object_;  // Not owned.
  std::string pointer_;
  ProblemLog* log_;  // Not owned.
  std::vector<std::string> known_;
};

// The known word that `word` was probably meant to be; "" when none is near.
std::string NearestWord(absl::string_view word,
                        const std::vector<std::string>& known);

// Text of a user for a message: cut, control characters replaced.
std::string ShownText(absl::string_view text);

// "/spec/targets/0/name" becomes "spec.targets[0].name"; "" stays.
std::string PathOfPointer(absl::string_view pointer);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_FIELD_READER_H_
