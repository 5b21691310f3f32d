// Names of what a tracker has recorded: positions in the tables of its arena (dept/arena.h).
//
//   ClassId lock = graph.class_of(object, Event::kWrite);
//   if (lock == ClassId::kNone) ...                   // the table is full: this one is not tracked
//
// Nothing is ever removed while the tracker runs, so a name stays good; 0 is nobody.
#pragma once

#include <cstdint>

namespace causeway::dept {

enum class ClassId : uint32_t { kNone };
enum class EdgeId : uint32_t { kNone };
enum class WitnessId : uint32_t { kNone };
enum class ObjectId : uint32_t { kNone };
enum class ThreadId : uint32_t { kNone };
enum class StackId : uint32_t { kNone };
enum class StringId : uint32_t { kNone };
enum class ClockId : uint32_t { kNone };
enum class ReportId : uint32_t { kNone };
enum class StateId : uint32_t { kNone };
enum class ModuleId : uint32_t { kNone };

template <typename Id>
constexpr uint32_t index_of(Id id) {
  return static_cast<uint32_t>(id);
}

}  // namespace causeway::dept
