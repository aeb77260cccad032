/** Descriptor over which bytes of a database come from the parent, or go to it. */
export const CHANNEL_FD = 3
