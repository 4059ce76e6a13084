import { shortPass } from './short-pass.ts'

shortPass('sqlite')
