#include "recurrence.h"
EXPORT_ALL(float32, float)
