// The whole graph of all processes of a run, for graphviz.
//
//   std::ofstream("graph.dot") << graph_picture(recordings);
#pragma once

#include <string>

#include "findings/recordings.h"

namespace causeway::findings {

// A box for each class that has an edge, named as its first object; an arrow says that the event of its tail needs that of its head.
std::string graph_picture(const Recordings& recordings);

}  // namespace causeway::findings
