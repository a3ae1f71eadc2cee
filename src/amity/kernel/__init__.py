"""The ground floor: clocks, ids, scope, errors, limits, registry. Imports nothing of ours."""
