"""The sampler: noise, schedule, guidance and the loop over the steps of one clip. Knows records, not networks."""
