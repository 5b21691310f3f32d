// One line on standard error: "causeway: ...". For what the user must know and no errno can tell.
#pragma once

namespace causeway::shim {

__attribute__((format(printf, 1, 2))) void say(const char* format, ...);

}  // namespace causeway::shim
