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
//   spec.NoEffect("imageScanInterval", "images are not scanned");
//   spec.Finish();

#ifndef FLOTILLA_MANAGER_DOCUMENTS_FIELD_READER_H_
#define FLOTILLA_MANAGER_DOCUMENTS_FIELD_READER_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
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

  // Reads as sigs.k8s.io/yaml decodes into Go types: a number or boolean where
  // a text is wanted becomes that text, and a key counts in any case of its
  // letters. Each with a warning. An API server does neither.
  void set_lenient() { lenient_ = true; }
  bool lenient() const { return lenient_; }

  // Every key that is asked for is put into `keys`, as "spec.targets[].name";
  // not owned.
  void set_key_record(std::set<std::string>* keys) { key_record_ = keys; }
  void RecordKey(absl::string_view pointer);

  // Whether a further warning would be dropped.
  bool warnings_full() const { return warnings_.size() > kMaxProblems; }

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
  bool lenient_ = false;
  std::set<std::string>* key_record_ = nullptr;
  std::vector<core::v1::Problem> errors_;
  std::vector<core::v1::Problem> warnings_;
};

// Keys that are absent and keys that are null are the same, and a null in a
// list or map is the zero of its type, as in Go. A getter whose key has another
// type logs an error and returns the default.
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
  int32_t Int32(absl::string_view key);
  std::vector<std::string> Strings(absl::string_view key);
  std::map<std::string, std::string> StringMap(absl::string_view key);
  std::optional<FieldReader> Object(absl::string_view key);
  std::vector<FieldReader> Objects(absl::string_view key);
  // Of any type; null when absent.
  const nlohmann::json* Value(absl::string_view key);

  // A key that Fleet knows and that does nothing here: a warning that says
  // `what` happens instead, unless the value is false, 0, "", empty or null, an
  // object of such values only, or one of the texts `defaults`.
  void NoEffect(absl::string_view key, absl::string_view what,
                std::initializer_list<absl::string_view> defaults = {});
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
  // The key as the document spells it.
  std::string Spelling(absl::string_view key) const;
  // False when `value` is no text and cannot be read as one.
  bool ReadText(const nlohmann::json& value, const std::string& pointer,
                std::string& text);

  const nlohmann::json* object_;  // Not owned.
  std::string pointer_;
  ProblemLog* log_;  // Not owned.
  std::vector<std::string> known_;
  // Keys of the object that were read under another spelling.
  std::vector<std::string> respelled_;
};

// The known word that `word` was probably meant to be; "" when none is near.
std::string NearestWord(absl::string_view word,
                        const std::vector<std::string>& known);

// Text of a user for a message: cut, and what a terminal or a log may not get
// (control characters, changes of direction, invisible characters, broken
// UTF-8) replaced.
std::string ShownText(absl::string_view text);
// The same without the cut.
std::string CleanText(absl::string_view text);

// Whether all of `bytes` is UTF-8.
bool IsUtf8(absl::string_view bytes);

// The problem that an error of common/yaml is.
core::v1::Problem YamlProblem(const absl::Status& status,
                              absl::string_view file,
                              absl::string_view subject);

// The warning that a doubt about YAML is.
core::v1::Problem YamlWarning(const YamlDoubt& doubt, absl::string_view file,
                              absl::string_view subject);

// "/spec/targets/0/name" becomes "spec.targets[0].name"; "" stays.
std::string PathOfPointer(absl::string_view pointer);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_FIELD_READER_H_
