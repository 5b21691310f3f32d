// Which class an object belongs to whose maker did not say, and how places in code are named so that every run gives the same name.
//
//   class_choice::set_hooks({.of_address = symbol_of, .of_code = offset_of});     // interposers, at start
//   ClassChoice choice = class_choice::choose(&mutex, traits, site, on_stack);
//
// In this order (spec 4.5): the key that was given; the place in a module's data (a hook knows); the place of the first use. Arrays of
// locks are not a class for each element: of one place only so many have their own (Tracker::make_object).
#pragma once

#include <cstdint>

#include "dept/tracker.h"

namespace causeway::dept {

struct ClassChoice {
  uint64_t key = 0;
  uint64_t otherwise = 0;  // that of the place of its first use, if `key` is of its address alone
  char name[96] = {};  // empty: none
};

namespace class_choice {

struct Hooks {
  // Data of a module, an allocation whose place is known: fills `choice`, or returns false.
  bool (*of_address)(const void* address, ClassChoice* choice) = nullptr;
  // A program counter, independent of where its module was loaded.
  uint64_t (*of_code)(uint64_t pc) = nullptr;
};
// Before Tracker::start().
void set_hooks(const Hooks& hooks);

ClassChoice choose(const void* address, const ObjectTraits& traits, Site first_use, bool on_stack);
uint64_t key_of_site(Site site);
uint64_t key_of_frames(const Frame* frames, unsigned depth, const Arena& arena);

}  // namespace class_choice
}  // namespace causeway::dept
