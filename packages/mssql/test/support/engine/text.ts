/** A statement with its white space made one. Inside of literals, too: it is only compared, and told in logs. */
export const normalised = (text: string): string => text.replace(/\s+/g, ' ').trim()
