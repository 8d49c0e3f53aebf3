// SPDX-License-Identifier: Apache-2.0
//
// Judges the certificate of a server that is not ours by CA certificates that
// a user gave.

#ifndef FLOTILLA_COMMON_CRYPTO_SERVER_TRUST_H_
#define FLOTILLA_COMMON_CRYPTO_SERVER_TRUST_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace flotilla {

// OK when the certificate `der` is valid for `host` (a name or an address) at
// `now` and was signed by one of the certificates in `ca_pem`, or is one of
// them. INVALID_ARGUMENT when `ca_pem` holds no certificate;
// FAILED_PRECONDITION with the reason otherwise.
absl::Status VerifyServerCertificate(absl::string_view der,
                                     absl::string_view host,
                                     absl::string_view ca_pem, absl::Time now);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_SERVER_TRUST_H_
