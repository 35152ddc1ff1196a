#include "recurrence.h"
EXPORT_ALL(float64, double)
