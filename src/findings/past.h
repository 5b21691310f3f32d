// What runs of one program have shown, in names that are the same in each of them: code is module and offset, a thread is the part
// it plays, an object of static storage is its address in its module. Without any reference to the recordings it was taken from.
//
//   Past past;
//   if (past.add(recording.arena())) save(past);       // it brought something new
//
// Of a dependency that was seen before by the same thread between the same objects, a run adds only that it has seen it too.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "dept/arena.h"

namespace causeway::findings {

// Values by number, each once; 0 is none.
template <typename T>
class Numbered {
 public:
  uint32_t add(const T& value) {
    const auto [at, is_new] = numbers_.try_emplace(value, static_cast<uint32_t>(all_.size()));
    if (is_new) all_.push_back(value);
    return at->second;
  }
  const T& operator[](uint32_t number) const { return all_[number < all_.size() ? number : 0]; }
  uint32_t size() const { return static_cast<uint32_t>(all_.size()); }

 private:
  std::vector<T> all_{1};
  std::map<T, uint32_t> numbers_;
};

struct Past {
  struct Module {
    std::string path, build_id;
    auto operator<=>(const Module&) const = default;
  };
  // Of code or data. Without a module: `text` is a line of source.
  struct Place {
    uint32_t module = 0;
    uint64_t offset = 0;
    std::string text;
    auto operator<=>(const Place&) const = default;
  };
  using Stack = std::vector<Place>;
  // The part of a thread: the how-manieth of those that begin there and are created there.
  struct Role {
    Place start;
    uint32_t created = 0, ordinal = 0, level = 0;
    auto operator<=>(const Role&) const = default;
  };
  struct ObjectName {
    uint64_t key = 0;
    Place place;                           // of one in static storage
    uint32_t role = 0;                     // of what a join waits for
    uint32_t run = 0, number = 0;          // of any other: it is its run's alone
    auto operator<=>(const ObjectName&) const = default;
  };
  struct Object {
    dept::Kind kind{};
    uint8_t sub = 0;
    uint16_t class_flags = 0;
    uint32_t flags = 0, birth = 0, value = 0;
    uint64_t address = 0;
    std::string name;
    uint32_t classes[dept::kEvents] = {};
  };
  struct ClassName {
    uint64_t key = 0;
    uint8_t sub = 0;
    auto operator<=>(const ClassName&) const = default;
  };
  struct Class {
    dept::Kind kind{};
    uint32_t flags = 0, site = 0;
    std::string name;
  };
  using Clock = std::vector<std::pair<uint32_t, uint32_t>>;  // role, epoch; sorted
  // A witness.
  struct Fact {
    uint32_t from = 0, to = 0, role = 0, from_object = 0, to_object = 0, start = 0, wait = 0, event = 0, flags = 0, epoch = 0;
    dept::Event from_event{}, to_event{};
    uint8_t irq = 0;
    uint64_t time_ns = 0;
    std::vector<uint32_t> guards;
    Clock clock;
  };
  struct Lived {
    uint32_t creator = 0;
    uint64_t started_ns = 0, ended_ns = 0;  // 0: it was there to the end
    bool has_birth = false;
    Clock birth;                            // what it knew at its first witness
  };
  struct Run {
    std::map<uint32_t, Lived> threads;      // by role
    std::vector<Fact> facts;
    std::set<std::tuple<uint32_t, uint32_t, uint32_t>> seen;  // from, to, group of the thread
  };

  static constexpr size_t kMostRuns = 1000;

  // The program whose recording this is: its build id, or its path where it has none.
  static std::string program_of(const dept::Arena& arena);
  // False: nothing in it is new.
  bool add(const dept::Arena& arena);
  // All threads that begin as this one does.
  uint32_t group_of(uint32_t role);
  // What makes a fact another one, whatever run it is of.
  using Shape = std::vector<uint64_t>;
  Shape shape_of(const Fact& fact) const;

  std::string path;
  Numbered<Module> modules;
  Numbered<Stack> stacks;
  Numbered<Role> roles;
  std::vector<std::string> thread_names{1};   // by role
  Numbered<ObjectName> object_names;
  std::vector<Object> objects{1};             // by object_names
  Numbered<ClassName> class_names;
  std::vector<Class> classes{1};              // by class_names
  std::vector<Run> runs;
  std::set<Shape> shapes;
};

}  // namespace causeway::findings
