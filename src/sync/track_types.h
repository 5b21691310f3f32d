// What the hooks of sync/track.h are told: which object, in what mode, with or without a time limit.
//
//   track::acquiring({this, "mm.zone", Kind::kSpinLock}, Mode::kExclusive, where);
#pragma once

#include <cstdint>

#include "base/source_location.h"

namespace causeway::sync::track {

enum class Kind : uint8_t { kMutex, kSpinLock, kRwLock, kCondVar, kCompletion, kWaitQueue, kThread };
enum class Mode : uint8_t { kExclusive, kShared };
enum class Attempt : uint8_t { kBlocking, kTry };
// A wait that ends by itself after a time cannot be for ever.
enum class Timeout : uint8_t { kNone, kSome };
// Why a sleeper runs again: only the event says that what its maker did before it is over.
enum class Outcome : uint8_t { kEvent, kTimeout };
enum class Wakes : uint8_t { kOne, kAll };

// One lock or event. `name` is its class: all objects with equal names follow the same rules. Null
// if it was given none; then the place of its construction or first use tells its class.
struct Object {
  const void* address;
  const char* name;
  Kind kind;
};

}  // namespace causeway::sync::track
