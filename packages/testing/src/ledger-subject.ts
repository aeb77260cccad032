import type { AdapterInstance, AdapterSubject } from './adapter/subject.ts'
import { ledger } from './ledger.ts'

/** A ledger with 120 entries, for `adapterCases`: how a subject is written. */
export const ledgerSubject: AdapterSubject = {
  async create(): Promise<AdapterInstance> {
    const source = ledger()
    let changes = 0
    const mutate = async (): Promise<void> => source.append(`change ${++changes}`)
    for (let count = 0; count < 120; count++) await mutate()
    return {
      adapter: source.adapter,
      mutate,
      state: async () => source.entries(),
      stateOf: async (location) => source.entries(String(location)),
      placeFor: async (name) => name,
      leftovers: async () => source.places().filter((place) => place.includes('.staged-')),
      failSource: async () => source.failSource(),
      corrupt: async () => source.corrupt(),
      breakLog: async () => source.truncateLog(),
      killFollower: async () => source.killFollowers(),
      clockStepMs: 3,
      destroy: async () => {},
    }
  },
}
