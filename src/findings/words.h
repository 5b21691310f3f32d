// Phrases of the reports. Private to this room.
#pragma once

#include <string>

#include "findings/finding.h"

namespace causeway::findings {

// A lock is held; everything else is waited for until somebody makes it happen.
bool is_lock(dept::Kind kind);
// What a thread that does not hold it would do: "signal condition variable q.ready", "end".
std::string promise(const Thing& thing);
// The same, done: "signals condition variable q.ready".
std::string done(const Thing& thing);
// "takes mutex m".
std::string how_taken(const Thing& thing);
const char* word_of(dept::Misuse misuse);
// "4.0 KiB", "312 bytes".
std::string human_size(uint64_t bytes);

std::string title_of(const Finding& finding);
std::string narrative_of(const Finding& finding);
std::vector<std::string> refutations_in_words(uint32_t refutations, const Finding& finding);
std::vector<std::string> suggestions_for(const Finding& finding);
// lock, comm, mixed, ...
std::string kind_of(const Finding& finding);

}  // namespace causeway::findings
