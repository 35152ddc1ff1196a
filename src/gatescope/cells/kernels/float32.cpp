#include "recurrence.h"
EXPORT_ALL(float32, float)
extern "C" int64_t call_size() { return sizeof(Call); }
