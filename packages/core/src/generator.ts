import manifest from '../package.json' with { type: 'json' }

/** What writes the manifests. */
export const GENERATOR = { name: manifest.name, version: manifest.version }
