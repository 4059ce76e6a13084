import { conforms } from './conform.ts'

await conforms('classic')
